// SPDX-License-Identifier: Apache-2.0

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.bouncycastle.asn1.ASN1Encodable;
import org.bouncycastle.asn1.ASN1Encoding;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.ASN1Primitive;
import org.bouncycastle.asn1.DEROctetString;
import org.bouncycastle.asn1.DERSequence;
import org.bouncycastle.asn1.DERSet;
import org.bouncycastle.asn1.DERUTF8String;
import org.bouncycastle.asn1.cmc.BodyPartID;
import org.bouncycastle.asn1.cmc.CMCObjectIdentifiers;
import org.bouncycastle.asn1.cmc.CertificationRequest;
import org.bouncycastle.asn1.cmc.IdentityProofV2;
import org.bouncycastle.asn1.cmc.OtherMsg;
import org.bouncycastle.asn1.cmc.PKIData;
import org.bouncycastle.asn1.cmc.TaggedAttribute;
import org.bouncycastle.asn1.cmc.TaggedCertificationRequest;
import org.bouncycastle.asn1.cmc.TaggedContentInfo;
import org.bouncycastle.asn1.cmc.TaggedRequest;
import org.bouncycastle.asn1.cms.ContentInfo;
import org.bouncycastle.asn1.crmf.CertReqMsg;
import org.bouncycastle.cms.CMSAlgorithm;
import org.bouncycastle.cms.CMSAuthenticatedData;
import org.bouncycastle.cms.CMSAuthenticatedDataGenerator;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.PasswordRecipient;
import org.bouncycastle.cms.RecipientInformation;
import org.bouncycastle.cms.jcajce.JceCMSMacCalculatorBuilder;
import org.bouncycastle.cms.jcajce.JcePasswordAuthenticatedRecipient;
import org.bouncycastle.cms.jcajce.JcePasswordRecipientInfoGenerator;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;

/** Full PKI Requests. */
final class Data {
	private static final long FIRST_CONTROL = 1000; // their body part ids
	private static final byte[] SALT = "0123456789abcdef".getBytes(StandardCharsets.US_ASCII);

	/**
	 * make takes tcr (several: body part id, a space, base64 of a PKCS #10), crm
	 * (several: base64 of a CertReqMsg), cms (several: id, a space, base64 of a
	 * ContentInfo), control (several: OID, a space, base64 of the value) and the
	 * controls identification, secret (identity proof V2), linkRandom,
	 * transactionId, senderNonce; then what Signed.make takes for the signature, or
	 * password, for AuthenticatedData.
	 */
	static void make(Form in, Form out) throws Exception {
		List<TaggedRequest> requests = requests(in);
		List<TaggedAttribute> controls = new ArrayList<>();
		for (Object[] control : controls(in, requests)) {
			controls.add(new TaggedAttribute(new BodyPartID(FIRST_CONTROL + controls.size()),
				(ASN1ObjectIdentifier) control[0], new DERSet((ASN1Encodable) control[1])));
		}
		List<TaggedContentInfo> inside = new ArrayList<>();
		for (String text : in.all("cms")) {
			String[] parts = text.split(" ");
			inside.add(new TaggedContentInfo(new BodyPartID(Long.parseLong(parts[0])),
				ContentInfo.getInstance(Form.bytesOf(parts[1]))));
		}
		byte[] data = new PKIData(controls.toArray(new TaggedAttribute[0]), requests.toArray(new TaggedRequest[0]),
			inside.toArray(new TaggedContentInfo[0]), new OtherMsg[0]).getEncoded(ASN1Encoding.DER);
		out.add("pkidata", data);
		String type = CMCObjectIdentifiers.id_cct_PKIData.getId();
		out.add("der", in.has("password") ? authenticated(in, data) : Signed.sign(in, data, type));
	}

	private static List<TaggedRequest> requests(Form in) {
		List<TaggedRequest> all = new ArrayList<>();
		for (String text : in.all("tcr")) {
			String[] parts = text.split(" ");
			all.add(new TaggedRequest(new TaggedCertificationRequest(new BodyPartID(Long.parseLong(parts[0])),
				CertificationRequest.getInstance(Form.bytesOf(parts[1])))));
		}
		for (String text : in.all("crm")) {
			all.add(new TaggedRequest(CertReqMsg.getInstance(Form.bytesOf(text))));
		}
		return all;
	}

	private static List<Object[]> controls(Form in, List<TaggedRequest> requests) throws Exception {
		List<Object[]> all = new ArrayList<>();
		String identification = in.get("identification", "");
		if (in.has("identification")) {
			all.add(new Object[] {CMCObjectIdentifiers.id_cmc_identification, new DERUTF8String(identification)});
		}
		if (in.has("secret")) {
			byte[] sequence = new DERSequence(requests.toArray(new TaggedRequest[0])).getEncoded(ASN1Encoding.DER);
			byte[] witness = Requests.mac(Requests.hash(in.get("secret"), identification), sequence);
			all.add(new Object[] {CMCObjectIdentifiers.id_cmc_identityProofV2,
				new IdentityProofV2(Requests.SHA256_HASH, Requests.HMAC_SHA256, witness)});
		}
		if (in.has("linkRandom")) {
			all.add(new Object[] {CMCObjectIdentifiers.id_cmc_popLinkRandom, new DEROctetString(in.bytes("linkRandom"))});
		}
		if (in.has("transactionId")) {
			all.add(new Object[] {CMCObjectIdentifiers.id_cmc_transactionId,
				new org.bouncycastle.asn1.ASN1Integer(Long.parseLong(in.get("transactionId")))});
		}
		if (in.has("senderNonce")) {
			all.add(new Object[] {CMCObjectIdentifiers.id_cmc_senderNonce, new DEROctetString(in.bytes("senderNonce"))});
		}
		for (String text : in.all("control")) {
			String[] parts = text.split(" ");
			all.add(new Object[] {new ASN1ObjectIdentifier(parts[0]), ASN1Primitive.fromByteArray(Form.bytesOf(parts[1]))});
		}
		return all;
	}

	/** RFC 5272 section 3.2: the key comes from the identifier and then the shared secret. */
	private static byte[] authenticated(Form in, byte[] data) throws Exception {
		char[] password = (in.get("identification", "") + in.get("password")).toCharArray();
		CMSAuthenticatedDataGenerator generator = new CMSAuthenticatedDataGenerator();
		generator.addRecipientInfoGenerator(new JcePasswordRecipientInfoGenerator(CMSAlgorithm.AES256_CBC, password)
			.setProvider(Keys.PROVIDER).setPasswordConversionScheme(PasswordRecipient.PKCS5_SCHEME2_UTF8)
			.setPRF(PasswordRecipient.PRF.HMacSHA256).setSaltAndIterationCount(SALT, 10_000));
		return generator.generate(new CMSProcessableByteArray(CMCObjectIdentifiers.id_cct_PKIData, data),
			new JceCMSMacCalculatorBuilder(org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers.id_hmacWithSHA256)
				.setProvider(Keys.PROVIDER).build(),
			new JcaDigestCalculatorProviderBuilder().setProvider(Keys.PROVIDER).build().get(Requests.SHA256_HASH))
			.toASN1Structure().getEncoded(ASN1Encoding.DER);
	}

	/**
	 * verify takes der, an AuthenticatedData, and password (all of the secret). It
	 * answers type and content; a MAC or a digest that isn't right is an error.
	 */
	static void verify(Form in, Form out) throws Exception {
		CMSAuthenticatedData data = new CMSAuthenticatedData(in.bytes("der"),
			new JcaDigestCalculatorProviderBuilder().setProvider(Keys.PROVIDER).build());
		RecipientInformation recipient = data.getRecipientInfos().iterator().next();
		byte[] content = recipient.getContent(new JcePasswordAuthenticatedRecipient(in.get("password").toCharArray())
			.setProvider(Keys.PROVIDER).setPasswordConversionScheme(PasswordRecipient.PKCS5_SCHEME2_UTF8));
		if (!Arrays.equals(data.getMac(), recipient.getMac())
			|| !Arrays.equals(data.getContentDigest(), recipient.getContentDigest())) {
			throw new IllegalArgumentException("the MAC is not good");
		}
		out.add("type", recipient.getContentType().getId());
		out.add("content", content);
	}
}
