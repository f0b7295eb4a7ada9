// SPDX-License-Identifier: Apache-2.0

import java.security.PrivateKey;
import java.util.Collection;
import javax.crypto.SecretKey;
import javax.crypto.spec.SecretKeySpec;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.cms.CMSObjectIdentifiers;
import org.bouncycastle.asn1.cms.ContentInfo;
import org.bouncycastle.cms.CMSAuthEnvelopedData;
import org.bouncycastle.cms.CMSEnvelopedData;
import org.bouncycastle.cms.CMSTypedStream;
import org.bouncycastle.cms.KEKRecipientInformation;
import org.bouncycastle.cms.KeyAgreeRecipientId;
import org.bouncycastle.cms.KeyAgreeRecipientInformation;
import org.bouncycastle.cms.KeyTransRecipientId;
import org.bouncycastle.cms.KeyTransRecipientInformation;
import org.bouncycastle.cms.Recipient;
import org.bouncycastle.cms.RecipientInformation;
import org.bouncycastle.cms.RecipientInformationStore;
import org.bouncycastle.cms.jcajce.JceKEKEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyAgreeEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyTransAuthEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyTransEnvelopedRecipient;

/** EnvelopedData and AuthEnvelopedData. */
final class Opened {
	/**
	 * open takes der, and key (the recipient's) or kek. It answers recipient (ktri,
	 * kari or kekri), by (ski, issuer or kekid: how the recipient is named) with
	 * id, wrap (OID of the key encryption), cipher (OID), auth for
	 * AuthEnvelopedData, and the inside: type and content.
	 */
	static void open(Form in, Form out) throws Exception {
		byte[] der = in.bytes("der");
		ASN1ObjectIdentifier kind = ContentInfo.getInstance(der).getContentType();
		boolean auth = kind.equals(CMSObjectIdentifiers.authEnvelopedData);
		RecipientInformationStore recipients;
		if (auth) {
			CMSAuthEnvelopedData data = new CMSAuthEnvelopedData(der);
			recipients = data.getRecipientInfos();
			out.add("auth", "true");
		} else {
			CMSEnvelopedData data = new CMSEnvelopedData(der);
			recipients = data.getRecipientInfos();
			out.add("cipher", data.getEncryptionAlgOID());
		}
		Collection<RecipientInformation> all = recipients.getRecipients();
		if (all.size() != 1) {
			throw new IllegalArgumentException(all.size() + " recipients");
		}
		RecipientInformation recipient = all.iterator().next();
		named(recipient, out);
		out.add("wrap", recipient.getKeyEncryptionAlgOID());
		CMSTypedStream inside = recipient.getContentStream(recipient(in, recipient, auth));
		out.add("content", inside.getContentStream().readAllBytes());
		out.add("type", inside.getContentType().getId());
	}

	private static void named(RecipientInformation recipient, Form out) throws Exception {
		byte[] ski = null;
		if (recipient instanceof KeyTransRecipientInformation) {
			out.add("recipient", "ktri");
			ski = ((KeyTransRecipientId) recipient.getRID()).getSubjectKeyIdentifier();
		} else if (recipient instanceof KeyAgreeRecipientInformation) {
			out.add("recipient", "kari");
			ski = ((KeyAgreeRecipientId) recipient.getRID()).getSubjectKeyIdentifier();
		} else if (recipient instanceof KEKRecipientInformation) {
			out.add("recipient", "kekri");
			out.add("by", "kekid");
			out.add("id", ((org.bouncycastle.cms.KEKRecipientId) recipient.getRID()).getKeyIdentifier());
			return;
		}
		out.add("by", ski == null ? "issuer" : "ski");
		if (ski != null) {
			out.add("id", ski);
		}
	}

	private static Recipient recipient(Form in, RecipientInformation recipient, boolean auth) throws Exception {
		if (recipient instanceof KEKRecipientInformation) {
			SecretKey kek = new SecretKeySpec(in.bytes("kek"), "AES");
			return auth ? new Authenticated.Kek(kek) : new JceKEKEnvelopedRecipient(kek).setProvider(Keys.PROVIDER);
		}
		PrivateKey key = Keys.privateKey(in.bytes("key"));
		if (recipient instanceof KeyTransRecipientInformation) {
			return auth ? new JceKeyTransAuthEnvelopedRecipient(key).setProvider(Keys.PROVIDER)
				: new JceKeyTransEnvelopedRecipient(key).setProvider(Keys.PROVIDER);
		}
		if (key.getAlgorithm().equals("X25519") || key.getAlgorithm().equals("XDH")) {
			return new Montgomery(key);
		}
		return auth ? new Authenticated.Agree(key) : new JceKeyAgreeEnvelopedRecipient(key).setProvider(Keys.PROVIDER);
	}

}
