// SPDX-License-Identifier: Apache-2.0

import java.io.InputStream;
import java.security.Key;
import java.security.PrivateKey;
import java.util.Map;
import java.util.function.Supplier;
import javax.crypto.Cipher;
import javax.crypto.KeyAgreement;
import javax.crypto.spec.IvParameterSpec;
import javax.crypto.spec.SecretKeySpec;
import org.bouncycastle.asn1.ASN1Encodable;
import org.bouncycastle.asn1.ASN1EncodableVector;
import org.bouncycastle.asn1.ASN1Encoding;
import org.bouncycastle.asn1.ASN1OctetString;
import org.bouncycastle.asn1.DEROctetString;
import org.bouncycastle.asn1.DERSequence;
import org.bouncycastle.asn1.DERTaggedObject;
import org.bouncycastle.asn1.nist.NISTObjectIdentifiers;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.asn1.pkcs.PrivateKeyInfo;
import org.bouncycastle.asn1.sec.SECObjectIdentifiers;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.asn1.x509.SubjectPublicKeyInfo;
import org.bouncycastle.cms.CMSException;
import org.bouncycastle.cms.KeyAgreeRecipient;
import org.bouncycastle.cms.RecipientOperator;
import org.bouncycastle.crypto.DerivationFunction;
import org.bouncycastle.crypto.digests.SHA256Digest;
import org.bouncycastle.crypto.digests.SHA384Digest;
import org.bouncycastle.crypto.digests.SHA512Digest;
import org.bouncycastle.crypto.generators.HKDFBytesGenerator;
import org.bouncycastle.crypto.generators.KDF2BytesGenerator;
import org.bouncycastle.crypto.params.HKDFParameters;
import org.bouncycastle.crypto.params.KDFParameters;
import org.bouncycastle.jcajce.io.CipherInputStream;
import org.bouncycastle.operator.InputDecryptor;

/**
 * Bouncy Castle 1.72 has X25519 and the derivations, and does not put them together for CMS.
 * This is RFC 8418 section 2 with its parts.
 */
final class Montgomery implements KeyAgreeRecipient {
	/** With HKDF, and with the derivation of ANSI X9.63 (KDF2). */
	private static final Map<String, Supplier<DerivationFunction>> SCHEMES = Map.of(
		PKCSObjectIdentifiers.id_smime + ".3.19", () -> new HKDFBytesGenerator(new SHA256Digest()),
		PKCSObjectIdentifiers.id_smime + ".3.20", () -> new HKDFBytesGenerator(new SHA384Digest()),
		PKCSObjectIdentifiers.id_smime + ".3.21", () -> new HKDFBytesGenerator(new SHA512Digest()),
		SECObjectIdentifiers.dhSinglePass_stdDH_sha256kdf_scheme.getId(), () -> new KDF2BytesGenerator(new SHA256Digest()),
		SECObjectIdentifiers.dhSinglePass_stdDH_sha384kdf_scheme.getId(), () -> new KDF2BytesGenerator(new SHA384Digest()),
		SECObjectIdentifiers.dhSinglePass_stdDH_sha512kdf_scheme.getId(), () -> new KDF2BytesGenerator(new SHA512Digest()));

	private static final Map<String, Integer> WRAP_BITS = Map.of(
		NISTObjectIdentifiers.id_aes128_wrap.getId(), 128,
		NISTObjectIdentifiers.id_aes192_wrap.getId(), 192,
		NISTObjectIdentifiers.id_aes256_wrap.getId(), 256);

	private final PrivateKey key;

	Montgomery(PrivateKey key) {
		this.key = key;
	}

	@Override
	public AlgorithmIdentifier getPrivateKeyAlgorithmIdentifier() {
		return PrivateKeyInfo.getInstance(key.getEncoded()).getPrivateKeyAlgorithm();
	}

	@Override
	public RecipientOperator getRecipientOperator(AlgorithmIdentifier agreement, AlgorithmIdentifier content,
		SubjectPublicKeyInfo sender, ASN1OctetString ukm, byte[] wrapped) throws CMSException {
		try {
			KeyAgreement x25519 = KeyAgreement.getInstance("X25519", Keys.PROVIDER);
			x25519.init(key);
			x25519.doPhase(Keys.publicKey(sender.getEncoded()), true);
			AlgorithmIdentifier wrap = AlgorithmIdentifier.getInstance(agreement.getParameters());
			if (ukm != null) { // an ephemeral key needs none
				throw new CMSException("ukm is not read here");
			}
			byte[] kek = derive(SCHEMES.get(agreement.getAlgorithm().getId()).get(), x25519.generateSecret(), wrap);
			Cipher unwrap = Cipher.getInstance("AESWrap", Keys.PROVIDER);
			unwrap.init(Cipher.UNWRAP_MODE, new SecretKeySpec(kek, "AES"));
			return operator(unwrap.unwrap(wrapped, "AES", Cipher.SECRET_KEY), content);
		} catch (CMSException e) {
			throw e;
		} catch (Exception e) {
			throw new CMSException("X25519", e);
		}
	}

	/** derive has ECC-CMS-SharedInfo of RFC 5753 section 7.2 for the info, and no salt. */
	private static byte[] derive(DerivationFunction function, byte[] secret, AlgorithmIdentifier wrap) throws Exception {
		int bits = WRAP_BITS.get(wrap.getAlgorithm().getId());
		ASN1EncodableVector info = new ASN1EncodableVector();
		info.add(wrap);
		ASN1Encodable length = new DEROctetString(new byte[] {0, 0, (byte) (bits >> 8), (byte) bits});
		info.add(new DERTaggedObject(true, 2, length));
		byte[] der = new DERSequence(info).getEncoded(ASN1Encoding.DER);
		function.init(function instanceof HKDFBytesGenerator ? new HKDFParameters(secret, null, der) : new KDFParameters(secret, der));
		byte[] kek = new byte[bits / 8];
		function.generateBytes(kek, 0, kek.length);
		return kek;
	}

	private static RecipientOperator operator(Key key, AlgorithmIdentifier content) throws Exception {
		if (!(content.getParameters() instanceof ASN1OctetString)) { // CBC's initialization vector
			return Authenticated.operator(key, content);
		}
		Cipher cipher = Cipher.getInstance("AES/CBC/PKCS5Padding", Keys.PROVIDER);
		cipher.init(Cipher.DECRYPT_MODE, key,
			new IvParameterSpec(ASN1OctetString.getInstance(content.getParameters()).getOctets()));
		return new RecipientOperator(new InputDecryptor() {
			@Override
			public AlgorithmIdentifier getAlgorithmIdentifier() {
				return content;
			}

			@Override
			public InputStream getInputStream(InputStream encrypted) {
				return new CipherInputStream(encrypted, cipher);
			}
		});
	}
}
