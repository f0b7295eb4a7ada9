// SPDX-License-Identifier: Apache-2.0

import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.security.KeyPair;
import java.security.cert.X509Certificate;
import java.security.spec.MGF1ParameterSpec;
import java.util.Map;
import javax.crypto.spec.OAEPParameterSpec;
import javax.crypto.spec.PSource;
import javax.crypto.spec.SecretKeySpec;
import org.bouncycastle.asn1.ASN1Encoding;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.DERSet;
import org.bouncycastle.asn1.cms.Attribute;
import org.bouncycastle.asn1.cms.AttributeTable;
import org.bouncycastle.asn1.cms.CMSAttributes;
import org.bouncycastle.asn1.cms.CMSObjectIdentifiers;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.cms.CMSAlgorithm;
import org.bouncycastle.cms.CMSAuthEnvelopedDataGenerator;
import org.bouncycastle.cms.CMSEnvelopedDataGenerator;
import org.bouncycastle.cms.CMSEnvelopedDataStreamGenerator;
import org.bouncycastle.cms.CMSEnvelopedGenerator;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.RecipientInfoGenerator;
import org.bouncycastle.cms.SimpleAttributeTableGenerator;
import org.bouncycastle.cms.jcajce.JceCMSContentEncryptorBuilder;
import org.bouncycastle.cms.jcajce.JceKEKRecipientInfoGenerator;
import org.bouncycastle.cms.jcajce.JceKeyAgreeRecipientInfoGenerator;
import org.bouncycastle.cms.jcajce.JceKeyTransRecipientInfoGenerator;
import org.bouncycastle.operator.OutputAEADEncryptor;
import org.bouncycastle.operator.OutputEncryptor;
import org.bouncycastle.operator.jcajce.JcaAlgorithmParametersConverter;

/** EnvelopedData and AuthEnvelopedData that Bouncy Castle makes. */
final class Sealed {
	private static final Map<String, ASN1ObjectIdentifier> CIPHERS = Map.of(
		"aes128-cbc", CMSAlgorithm.AES128_CBC, "aes256-cbc", CMSAlgorithm.AES256_CBC,
		"aes128-gcm", CMSAlgorithm.AES128_GCM, "aes256-gcm", CMSAlgorithm.AES256_GCM);

	/**
	 * make takes content, type (OID), cipher, form (der, the default, or ber), and
	 * the recipients: ktri, oaep and kari (each several: base64 of a certificate)
	 * or kekri (several: base64 of the identifier, a space, base64 of the key).
	 */
	static void make(Form in, Form out) throws Exception {
		ASN1ObjectIdentifier type = new ASN1ObjectIdentifier(in.get("type"));
		ASN1ObjectIdentifier cipher = CIPHERS.get(in.get("cipher", "aes128-cbc"));
		boolean ber = in.get("form", "der").equals("ber");
		OutputEncryptor encryptor = new JceCMSContentEncryptorBuilder(cipher).setProvider(Keys.PROVIDER).build();
		if (encryptor instanceof OutputAEADEncryptor) {
			CMSAuthEnvelopedDataGenerator generator = new CMSAuthEnvelopedDataGenerator();
			recipients(generator, in);
			if (!type.equals(CMSObjectIdentifiers.data)) { // RFC 5083 section 2.1
				generator.setAuthenticatedAttributeGenerator(new SimpleAttributeTableGenerator(
					new AttributeTable(new Attribute(CMSAttributes.contentType, new DERSet(type)))));
			}
			out.add("der", generator.generate(new CMSProcessableByteArray(type, in.bytes("content")),
				(OutputAEADEncryptor) encryptor).toASN1Structure().getEncoded(ber ? ASN1Encoding.BER : ASN1Encoding.DER));
			return;
		}
		if (ber) {
			CMSEnvelopedDataStreamGenerator generator = new CMSEnvelopedDataStreamGenerator();
			recipients(generator, in);
			generator.setBufferSize(100);
			generator.setBEREncodeRecipients(true);
			ByteArrayOutputStream whole = new ByteArrayOutputStream();
			try (OutputStream to = generator.open(type, whole, encryptor)) {
				to.write(in.bytes("content"));
			}
			out.add("der", whole.toByteArray());
			return;
		}
		CMSEnvelopedDataGenerator generator = new CMSEnvelopedDataGenerator();
		recipients(generator, in);
		out.add("der", generator.generate(new CMSProcessableByteArray(type, in.bytes("content")), encryptor)
			.toASN1Structure().getEncoded(ASN1Encoding.DER));
	}

	private static void recipients(CMSEnvelopedGenerator generator, Form in) throws Exception {
		for (String certificate : in.all("ktri")) {
			generator.addRecipientInfoGenerator(
				new JceKeyTransRecipientInfoGenerator(Keys.certificate(Form.bytesOf(certificate))).setProvider(Keys.PROVIDER));
		}
		for (String certificate : in.all("oaep")) {
			generator.addRecipientInfoGenerator(new JceKeyTransRecipientInfoGenerator(
				Keys.certificate(Form.bytesOf(certificate)), oaep()).setProvider(Keys.PROVIDER));
		}
		for (String certificate : in.all("kari")) {
			generator.addRecipientInfoGenerator(kari(Keys.certificate(Form.bytesOf(certificate))));
		}
		for (String text : in.all("kekri")) {
			String[] parts = text.split(" ");
			generator.addRecipientInfoGenerator(new JceKEKRecipientInfoGenerator(Form.bytesOf(parts[0]),
				new SecretKeySpec(Form.bytesOf(parts[1]), "AES")).setProvider(Keys.PROVIDER));
		}
	}

	private static AlgorithmIdentifier oaep() throws Exception {
		return new JcaAlgorithmParametersConverter().getAlgorithmIdentifier(
			org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers.id_RSAES_OAEP,
			new OAEPParameterSpec("SHA-256", "MGF1", MGF1ParameterSpec.SHA256, PSource.PSpecified.DEFAULT));
	}

	/** kari makes the ephemeral key on the recipient's curve: RFC 5753 section 3.1. */
	private static RecipientInfoGenerator kari(X509Certificate certificate) throws Exception {
		int bits = ((java.security.interfaces.ECPublicKey) certificate.getPublicKey()).getParams().getOrder().bitLength();
		KeyPair ephemeral = Keys.generate("P-" + bits);
		return new JceKeyAgreeRecipientInfoGenerator(CMSAlgorithm.ECDH_SHA256KDF, ephemeral.getPrivate(),
			ephemeral.getPublic(), CMSAlgorithm.AES128_WRAP).addRecipient(certificate).setProvider(Keys.PROVIDER);
	}
}
