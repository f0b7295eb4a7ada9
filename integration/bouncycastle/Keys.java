// SPDX-License-Identifier: Apache-2.0

import java.io.ByteArrayInputStream;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.PKCS8EncodedKeySpec;
import java.security.spec.X509EncodedKeySpec;
import org.bouncycastle.asn1.pkcs.PrivateKeyInfo;
import org.bouncycastle.asn1.x509.SubjectPublicKeyInfo;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;

/** Keys and certificates, in DER. */
final class Keys {
	static final String PROVIDER = "BC";

	static KeyPair generate(String curve) throws Exception {
		KeyPairGenerator generator = KeyPairGenerator.getInstance("EC", PROVIDER);
		generator.initialize(new ECGenParameterSpec(curve));
		return generator.generateKeyPair();
	}

	static PrivateKey privateKey(byte[] pkcs8) throws Exception {
		String algorithm = PrivateKeyInfo.getInstance(pkcs8).getPrivateKeyAlgorithm().getAlgorithm().getId();
		return KeyFactory.getInstance(algorithm, PROVIDER).generatePrivate(new PKCS8EncodedKeySpec(pkcs8));
	}

	static PublicKey publicKey(byte[] spki) throws Exception {
		String algorithm = SubjectPublicKeyInfo.getInstance(spki).getAlgorithm().getAlgorithm().getId();
		return KeyFactory.getInstance(algorithm, PROVIDER).generatePublic(new X509EncodedKeySpec(spki));
	}

	static X509Certificate certificate(byte[] der) throws Exception {
		CertificateFactory factory = CertificateFactory.getInstance("X.509", PROVIDER);
		return (X509Certificate) factory.generateCertificate(new ByteArrayInputStream(der));
	}

	/** algorithm is the signature algorithm for a key, with SHA-256 where it has a hash. */
	static String algorithm(PrivateKey key) {
		switch (key.getAlgorithm()) {
		case "RSA":
			return "SHA256withRSA";
		case "Ed25519":
		case "EdDSA":
			return "Ed25519";
		default:
			return "SHA256withECDSA";
		}
	}

	static ContentSigner signer(PrivateKey key) throws Exception {
		return new JcaContentSignerBuilder(algorithm(key)).setProvider(PROVIDER).build(key);
	}
}
