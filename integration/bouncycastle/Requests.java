// SPDX-License-Identifier: Apache-2.0

import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.util.ArrayList;
import java.util.List;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import org.bouncycastle.asn1.ASN1Encodable;
import org.bouncycastle.asn1.ASN1Encoding;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.ASN1Primitive;
import org.bouncycastle.asn1.ASN1Sequence;
import org.bouncycastle.asn1.DERBitString;
import org.bouncycastle.asn1.DERSequence;
import org.bouncycastle.asn1.DERTaggedObject;
import org.bouncycastle.asn1.cmc.CMCObjectIdentifiers;
import org.bouncycastle.asn1.cmc.PopLinkWitnessV2;
import org.bouncycastle.asn1.crmf.CertRequest;
import org.bouncycastle.asn1.crmf.SubsequentMessage;
import org.bouncycastle.asn1.nist.NISTObjectIdentifiers;
import org.bouncycastle.asn1.pkcs.CertificationRequest;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.ExtensionsGenerator;
import org.bouncycastle.asn1.x509.GeneralName;
import org.bouncycastle.asn1.x509.GeneralNames;
import org.bouncycastle.asn1.x509.SubjectKeyIdentifier;
import org.bouncycastle.asn1.x509.SubjectPublicKeyInfo;
import org.bouncycastle.cert.crmf.Control;
import org.bouncycastle.cert.crmf.jcajce.JcaCertificateRequestMessageBuilder;
import org.bouncycastle.cert.jcajce.JcaX509ExtensionUtils;
import org.bouncycastle.jcajce.provider.digest.SHA256;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.pkcs.jcajce.JcaPKCS10CertificationRequestBuilder;

/**
 * Certification requests. Both kinds take key (PKCS #8), public (SPKI), subject,
 * dns (several), ski (to have a subject key identifier), attribute (several:
 * OID, a space, base64), linkRandom and linkSecret (POP Link Witness V2).
 */
final class Requests {
	static final AlgorithmIdentifier SHA256_HASH = new AlgorithmIdentifier(NISTObjectIdentifiers.id_sha256);
	static final AlgorithmIdentifier HMAC_SHA256 = new AlgorithmIdentifier(PKCSObjectIdentifiers.id_hmacWithSHA256);

	/** pkcs10 takes pop=bad for a signature that isn't right. */
	static void pkcs10(Form in, Form out) throws Exception {
		JcaPKCS10CertificationRequestBuilder builder = new JcaPKCS10CertificationRequestBuilder(
			new X500Name(in.get("subject", "")), Keys.publicKey(in.bytes("public")));
		ExtensionsGenerator extensions = extensions(in);
		if (!extensions.isEmpty()) {
			builder.addAttribute(PKCSObjectIdentifiers.pkcs_9_at_extensionRequest, extensions.generate());
		}
		for (Object[] attribute : attributes(in)) {
			builder.addAttribute((ASN1ObjectIdentifier) attribute[0], (ASN1Encodable) attribute[1]);
		}
		CertificationRequest request = builder.build(Keys.signer(Keys.privateKey(in.bytes("key")))).toASN1Structure();
		if (in.get("pop", "").equals("bad")) {
			request = new CertificationRequest(request.getCertificationRequestInfo(), request.getSignatureAlgorithm(),
				new DERBitString(spoilt(request.getSignature().getOctets())));
		}
		out.add("der", request.getEncoded(ASN1Encoding.DER));
	}

	/**
	 * crmf takes id (the certReqId, which is the body part id in CMC) and pop:
	 * signature (the default), bad, raVerified, encrypt (a key that can't sign) or none.
	 */
	static void crmf(Form in, Form out) throws Exception {
		PublicKey pub = Keys.publicKey(in.bytes("public"));
		JcaCertificateRequestMessageBuilder builder = new JcaCertificateRequestMessageBuilder(new BigInteger(in.get("id", "1")));
		builder.setSubject(new X500Name(in.get("subject", "")));
		builder.setPublicKey(pub);
		ExtensionsGenerator extensions = extensions(in);
		if (!extensions.isEmpty()) {
			for (ASN1ObjectIdentifier oid : extensions.generate().getExtensionOIDs()) {
				Extension e = extensions.generate().getExtension(oid);
				builder.addExtension(oid, e.isCritical(), e.getParsedValue());
			}
		}
		for (Object[] attribute : attributes(in)) {
			builder.addControl(new Control() {
				public ASN1ObjectIdentifier getType() {
					return (ASN1ObjectIdentifier) attribute[0];
				}

				public ASN1Encodable getValue() {
					return (ASN1Encodable) attribute[1];
				}
			});
		}
		String pop = in.get("pop", "signature");
		switch (pop) {
		case "raVerified":
			builder.setProofOfPossessionRaVerified();
			break;
		case "encrypt":
			builder.setProofOfPossessionSubsequentMessage(SubsequentMessage.challengeResp);
			break;
		case "none":
			break;
		default:
			CertRequest unsigned = builder.build().toASN1Structure().getCertReq();
			out.add("der", signed(unsigned, Keys.privateKey(in.bytes("key")), pop.equals("bad")).getEncoded(ASN1Encoding.DER));
			return;
		}
		out.add("der", builder.build().toASN1Structure().getEncoded(ASN1Encoding.DER));
	}

	/**
	 * signed makes the proof by hand: POPOSigningKey over the DER of CertRequest.
	 * RFC 4211 section 4.1 wants poposkInput absent where the request has the
	 * subject and the key, and RFC 5272 section 3.2.1.2.2 demands both.
	 */
	private static ASN1Sequence signed(CertRequest request, PrivateKey key, boolean bad) throws Exception {
		ContentSigner signer = Keys.signer(key);
		signer.getOutputStream().write(request.getEncoded(ASN1Encoding.DER));
		byte[] signature = signer.getSignature();
		ASN1Sequence signingKey = new DERSequence(new ASN1Encodable[] {
			signer.getAlgorithmIdentifier(), new DERBitString(bad ? spoilt(signature) : signature)});
		return new DERSequence(new ASN1Encodable[] {request, new DERTaggedObject(false, 1, signingKey)});
	}

	private static ExtensionsGenerator extensions(Form in) throws Exception {
		ExtensionsGenerator extensions = new ExtensionsGenerator();
		List<GeneralName> names = new ArrayList<>();
		for (String dns : in.all("dns")) {
			names.add(new GeneralName(GeneralName.dNSName, dns));
		}
		if (!names.isEmpty()) {
			extensions.addExtension(Extension.subjectAlternativeName, false, new GeneralNames(names.toArray(new GeneralName[0])));
		}
		if (in.has("ski")) {
			extensions.addExtension(Extension.subjectKeyIdentifier, false, identifier(in.bytes("public")));
		}
		return extensions;
	}

	static SubjectKeyIdentifier identifier(byte[] spki) throws Exception {
		return new JcaX509ExtensionUtils().createSubjectKeyIdentifier(SubjectPublicKeyInfo.getInstance(spki));
	}

	private static List<Object[]> attributes(Form in) throws Exception {
		List<Object[]> all = new ArrayList<>();
		for (String text : in.all("attribute")) {
			String[] parts = text.split(" ");
			all.add(new Object[] {new ASN1ObjectIdentifier(parts[0]), ASN1Primitive.fromByteArray(Form.bytesOf(parts[1]))});
		}
		if (in.has("linkRandom")) {
			byte[] witness = mac(hash(in.get("linkSecret"), ""), in.bytes("linkRandom"));
			all.add(new Object[] {CMCObjectIdentifiers.id_cmc_popLinkWitnessV2,
				new PopLinkWitnessV2(SHA256_HASH, HMAC_SHA256, witness)});
		}
		return all;
	}

	/** hash is the key of a proof: RFC 5272 sections 6.2.1 and 6.2.3. */
	static byte[] hash(String secret, String identification) {
		return new SHA256.Digest().digest((secret + identification).getBytes(StandardCharsets.UTF_8));
	}

	static byte[] mac(byte[] key, byte[] message) throws Exception {
		Mac mac = Mac.getInstance("HmacSHA256", Keys.PROVIDER);
		mac.init(new SecretKeySpec(key, "HmacSHA256"));
		return mac.doFinal(message);
	}

	/** spoilt is a signature of the same shape that isn't right. */
	static byte[] spoilt(byte[] signature) {
		byte[] other = signature.clone();
		other[other.length - 1] ^= 1;
		return other;
	}
}
