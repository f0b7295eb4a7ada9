// SPDX-License-Identifier: Apache-2.0

import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.security.PrivateKey;
import java.security.cert.X509Certificate;
import java.util.List;
import org.bouncycastle.asn1.ASN1Encoding;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.ASN1Sequence;
import org.bouncycastle.asn1.DEROctetString;
import org.bouncycastle.asn1.DERSet;
import org.bouncycastle.asn1.cms.CMSObjectIdentifiers;
import org.bouncycastle.asn1.cms.ContentInfo;
import org.bouncycastle.asn1.cms.SignedData;
import org.bouncycastle.asn1.cms.SignerInfo;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaCertStore;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.CMSSignedData;
import org.bouncycastle.cms.CMSSignedDataGenerator;
import org.bouncycastle.cms.CMSSignedDataStreamGenerator;
import org.bouncycastle.cms.CMSSignedGenerator;
import org.bouncycastle.cms.SignerInfoGenerator;
import org.bouncycastle.cms.SignerInformation;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoGeneratorBuilder;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoVerifierBuilder;
import org.bouncycastle.asn1.pkcs.PrivateKeyInfo;

/** SignedData. */
final class Signed {
	static final String KEY_PACKAGE = "2.16.840.1.101.2.1.2.78.5"; // RFC 5958 section 2

	/**
	 * make takes content, type (OID), and as wanted signerKey with signerCert or
	 * with signerPublic (the signer is then named by its key identifier),
	 * certificate (several, beside the signer's), form (der, the default, or ber:
	 * indefinite lengths, and the content in pieces) and fault (signature, or
	 * content: another one than what was signed). Without signerKey nobody signs.
	 */
	static void make(Form in, Form out) throws Exception {
		out.add("der", sign(in, in.bytes("content"), in.get("type")));
	}

	static byte[] sign(Form in, byte[] content, String type) throws Exception {
		ASN1ObjectIdentifier oid = new ASN1ObjectIdentifier(type);
		if (in.get("form", "der").equals("ber")) {
			CMSSignedDataStreamGenerator generator = new CMSSignedDataStreamGenerator();
			prepare(generator, in);
			generator.setBufferSize(100);
			ByteArrayOutputStream whole = new ByteArrayOutputStream();
			try (OutputStream to = generator.open(oid, whole, true)) {
				to.write(content);
			}
			return whole.toByteArray();
		}
		CMSSignedDataGenerator generator = new CMSSignedDataGenerator();
		prepare(generator, in);
		ContentInfo whole = generator.generate(new CMSProcessableByteArray(oid, content), true).toASN1Structure();
		if (in.has("fault")) {
			whole = spoilt(SignedData.getInstance(whole.getContent()), content, in.get("fault"));
		}
		return whole.getEncoded(ASN1Encoding.DER);
	}

	private static void prepare(CMSSignedGenerator generator, Form in) throws Exception {
		if (in.has("signerKey")) {
			generator.addSignerInfoGenerator(signer(in));
		}
		for (String name : List.of("signerCert", "certificate")) {
			for (String certificate : in.all(name)) {
				generator.addCertificates(new JcaCertStore(List.of(Keys.certificate(Form.bytesOf(certificate)))));
			}
		}
	}

	private static SignerInfoGenerator signer(Form in) throws Exception {
		PrivateKey key = Keys.privateKey(in.bytes("signerKey"));
		JcaSimpleSignerInfoGeneratorBuilder builder = new JcaSimpleSignerInfoGeneratorBuilder().setProvider(Keys.PROVIDER);
		if (in.has("signerCert")) {
			return builder.build(Keys.algorithm(key), key, Keys.certificate(in.bytes("signerCert")));
		}
		return builder.build(Keys.algorithm(key), key, Requests.identifier(in.bytes("signerPublic")).getKeyIdentifier());
	}

	private static ContentInfo spoilt(SignedData data, byte[] content, String fault) {
		SignerInfo signer = SignerInfo.getInstance(data.getSignerInfos().getObjectAt(0));
		ContentInfo inside = data.getEncapContentInfo();
		if (fault.equals("content")) {
			inside = new ContentInfo(inside.getContentType(), new DEROctetString(Requests.spoilt(content)));
		} else {
			signer = new SignerInfo(signer.getSID(), signer.getDigestAlgorithm(), signer.getAuthenticatedAttributes(),
				signer.getDigestEncryptionAlgorithm(),
				new DEROctetString(Requests.spoilt(signer.getEncryptedDigest().getOctets())), signer.getUnauthenticatedAttributes());
		}
		return new ContentInfo(CMSObjectIdentifiers.signedData,
			new SignedData(data.getDigestAlgorithms(), inside, data.getCertificates(), data.getCRLs(), new DERSet(signer)));
	}

	/**
	 * verify takes der, a ContentInfo, or bare, the SignedData alone, and the signer's
	 * signerCert or signerPublic where there is no certificate of it inside. It answers type, content, certificate (several), signer
	 * (the certificate that the signature is good under) or verified, and the keys
	 * of an asymmetric key package.
	 */
	static void verify(Form in, Form out) throws Exception {
		CMSSignedData data = in.has("der") ? new CMSSignedData(in.bytes("der"))
			: new CMSSignedData(new ContentInfo(CMSObjectIdentifiers.signedData, SignedData.getInstance(in.bytes("bare"))));
		check(data, in, out);
		byte[] content = (byte[]) data.getSignedContent().getContent();
		out.add("type", data.getSignedContentTypeOID());
		out.add("content", content);
		for (X509CertificateHolder certificate : data.getCertificates().getMatches(null)) {
			out.add("certificate", certificate.getEncoded());
		}
		if (data.getSignedContentTypeOID().equals(KEY_PACKAGE)) {
			for (Object key : ASN1Sequence.getInstance(content)) {
				out.add("key", PrivateKeyInfo.getInstance(key).getEncoded());
			}
		}
	}

	/** check is for one signer: none, two and a bad one are errors. */
	static void check(CMSSignedData data, Form in, Form out) throws Exception {
		if (data.getSignerInfos().size() != 1) {
			throw new IllegalArgumentException(data.getSignerInfos().size() + " signers");
		}
		SignerInformation signer = data.getSignerInfos().iterator().next();
		JcaSimpleSignerInfoVerifierBuilder builder = new JcaSimpleSignerInfoVerifierBuilder().setProvider(Keys.PROVIDER);
		boolean good;
		if (in.has("signerPublic")) {
			good = signer.verify(builder.build(Keys.publicKey(in.bytes("signerPublic"))));
		} else {
			X509Certificate certificate = certificate(data, signer, in);
			good = signer.verify(builder.build(certificate));
			out.add("signer", certificate.getEncoded());
		}
		if (!good) {
			throw new IllegalArgumentException("the signature is not good");
		}
	}

	@SuppressWarnings("unchecked")
	private static X509Certificate certificate(CMSSignedData data, SignerInformation signer, Form in) throws Exception {
		if (in.has("signerCert")) {
			return Keys.certificate(in.bytes("signerCert"));
		}
		for (Object certificate : data.getCertificates().getMatches(signer.getSID())) {
			return Keys.certificate(((X509CertificateHolder) certificate).getEncoded());
		}
		throw new IllegalArgumentException("no certificate of the signer");
	}
}
