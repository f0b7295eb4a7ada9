// SPDX-License-Identifier: Apache-2.0

import java.io.InputStream;
import java.io.OutputStream;
import java.security.Key;
import java.security.PrivateKey;
import javax.crypto.Cipher;
import javax.crypto.SecretKey;
import javax.crypto.spec.GCMParameterSpec;
import org.bouncycastle.asn1.ASN1OctetString;
import org.bouncycastle.asn1.cms.GCMParameters;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.asn1.x509.SubjectPublicKeyInfo;
import org.bouncycastle.cms.CMSException;
import org.bouncycastle.cms.RecipientOperator;
import org.bouncycastle.cms.jcajce.JceKEKRecipient;
import org.bouncycastle.cms.jcajce.JceKeyAgreeRecipient;
import org.bouncycastle.jcajce.io.CipherInputStream;
import org.bouncycastle.operator.InputAEADDecryptor;

/**
 * Bouncy Castle 1.72 opens AuthEnvelopedData for ktri alone. These are its own
 * kekri and kari, with AES-GCM for the content.
 */
final class Authenticated {
	static final class Kek extends JceKEKRecipient {
		Kek(SecretKey kek) {
			super(kek);
			setProvider(Keys.PROVIDER);
		}

		@Override
		public RecipientOperator getRecipientOperator(AlgorithmIdentifier wrap, AlgorithmIdentifier content, byte[] wrapped)
			throws CMSException {
			return operator(extractSecretKey(wrap, content, wrapped), content);
		}
	}

	static final class Agree extends JceKeyAgreeRecipient {
		Agree(PrivateKey key) {
			super(key);
			setProvider(Keys.PROVIDER);
		}

		@Override
		public RecipientOperator getRecipientOperator(AlgorithmIdentifier wrap, AlgorithmIdentifier content,
			SubjectPublicKeyInfo sender, ASN1OctetString ukm, byte[] wrapped) throws CMSException {
			return operator(extractSecretKey(wrap, content, sender, ukm, wrapped), content);
		}
	}

	/** operator reads the content with its MAC behind it, as Bouncy Castle hands them over. */
	static RecipientOperator operator(Key key, AlgorithmIdentifier content) throws CMSException {
		Cipher cipher;
		try {
			GCMParameters gcm = GCMParameters.getInstance(content.getParameters());
			cipher = Cipher.getInstance("AES/GCM/NoPadding", Keys.PROVIDER);
			cipher.init(Cipher.DECRYPT_MODE, key, new GCMParameterSpec(gcm.getIcvLen() * 8, gcm.getNonce()));
		} catch (Exception e) {
			throw new CMSException("AES-GCM", e);
		}
		return new RecipientOperator(new InputAEADDecryptor() {
			@Override
			public AlgorithmIdentifier getAlgorithmIdentifier() {
				return content;
			}

			@Override
			public InputStream getInputStream(InputStream encrypted) {
				return new CipherInputStream(encrypted, cipher);
			}

			@Override
			public OutputStream getAADStream() {
				return new OutputStream() {
					@Override
					public void write(int octet) {
						cipher.updateAAD(new byte[] {(byte) octet});
					}
				};
			}

			@Override
			public byte[] getMAC() {
				return new byte[0];
			}
		});
	}
}
