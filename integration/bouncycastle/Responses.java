// SPDX-License-Identifier: Apache-2.0

import java.util.List;
import java.util.Map;
import org.bouncycastle.asn1.ASN1Encodable;
import org.bouncycastle.asn1.ASN1Encoding;
import org.bouncycastle.asn1.ASN1Integer;
import org.bouncycastle.asn1.ASN1OctetString;
import org.bouncycastle.asn1.cmc.BodyPartID;
import org.bouncycastle.asn1.cmc.CMCFailInfo;
import org.bouncycastle.asn1.cmc.CMCObjectIdentifiers;
import org.bouncycastle.asn1.cmc.CMCStatus;
import org.bouncycastle.asn1.cmc.CMCStatusInfo;
import org.bouncycastle.asn1.cmc.CMCStatusInfoV2;
import org.bouncycastle.asn1.cmc.OtherStatusInfo;
import org.bouncycastle.asn1.cmc.PKIResponse;
import org.bouncycastle.asn1.cmc.PendInfo;
import org.bouncycastle.asn1.cmc.TaggedAttribute;
import org.bouncycastle.asn1.cmc.TaggedContentInfo;
import org.bouncycastle.asn1.cms.ContentInfo;
import org.bouncycastle.asn1.cms.SignedData;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cmc.SimplePKIResponse;
import org.bouncycastle.cms.CMSSignedData;

/** Simple and Full PKI Responses. */
final class Responses {
	private static final Map<CMCStatus, String> STATUS = Map.of(
		CMCStatus.success, "success", CMCStatus.failed, "failed", CMCStatus.pending, "pending",
		CMCStatus.noSupport, "noSupport", CMCStatus.confirmRequired, "confirmRequired",
		CMCStatus.popRequired, "popRequired", CMCStatus.partial, "partial");

	private static final List<String> FAIL_INFO = List.of("badAlg", "badMessageCheck", "badRequest", "badTime",
		"badCertId", "unsupportedExt", "mustArchiveKeys", "badIdentity", "popRequired", "popFailed", "noKeyReuse",
		"internalCAError", "tryLater", "authDataFail");

	/**
	 * read takes der, and signerCert where der has no certificate of the signer. It
	 * answers kind (simple or full), certificate (several) and, from a full one,
	 * signer, status (several: its word, body part ids, the word of the failure or
	 * the pend token, and the text, parted by "|"), transactionId, senderNonce,
	 * recipientNonce, control (several: OID, a space, base64 of the first value)
	 * and cms (several: id, a space, base64).
	 */
	static void read(Form in, Form out) throws Exception {
		byte[] der = in.bytes("der");
		SignedData outer = SignedData.getInstance(ContentInfo.getInstance(der).getContent());
		if (outer.getEncapContentInfo().getContent() == null) {
			if (outer.getSignerInfos().size() != 0) {
				throw new IllegalArgumentException("a signed Simple PKI Response: RFC 5272 section 4.1");
			}
			out.add("kind", "simple");
			certificates(new SimplePKIResponse(der).getCertificates().getMatches(null), out);
			return;
		}
		out.add("kind", "full");
		CMSSignedData data = new CMSSignedData(der);
		Signed.check(data, in, out);
		if (!data.getSignedContentTypeOID().equals(CMCObjectIdentifiers.id_cct_PKIResponse.getId())) {
			throw new IllegalArgumentException("the content is a " + data.getSignedContentTypeOID());
		}
		certificates(data.getCertificates().getMatches(null), out);
		PKIResponse response = PKIResponse.getInstance(data.getSignedContent().getContent());
		for (ASN1Encodable control : response.getControlSequence()) {
			control(TaggedAttribute.getInstance(control), out);
		}
		for (ASN1Encodable inside : response.getCmsSequence()) {
			TaggedContentInfo tagged = TaggedContentInfo.getInstance(inside);
			out.add("cms", tagged.getBodyPartID().getID() + " " + base64(tagged.getContentInfo()));
		}
	}

	private static void certificates(Iterable<X509CertificateHolder> all, Form out) throws Exception {
		for (X509CertificateHolder certificate : all) {
			out.add("certificate", certificate.getEncoded());
		}
	}

	private static String base64(ASN1Encodable value) throws Exception {
		return java.util.Base64.getEncoder().encodeToString(value.toASN1Primitive().getEncoded(ASN1Encoding.DER));
	}

	private static void control(TaggedAttribute control, Form out) throws Exception {
		if (control.getAttrValues().size() != 1) {
			throw new IllegalArgumentException(control.getAttrType() + " has " + control.getAttrValues().size() + " values");
		}
		ASN1Encodable value = control.getAttrValues().getObjectAt(0);
		out.add("control", control.getAttrType() + " " + base64(value));
		if (control.getAttrType().equals(CMCObjectIdentifiers.id_cmc_statusInfoV2)) {
			out.add("status", status(CMCStatusInfoV2.getInstance(value)));
		} else if (control.getAttrType().equals(CMCObjectIdentifiers.id_cmc_statusInfo)) {
			out.add("statusV1", STATUS.get(CMCStatusInfo.getInstance(value).getCMCStatus()));
		} else if (control.getAttrType().equals(CMCObjectIdentifiers.id_cmc_transactionId)) {
			out.add("transactionId", ASN1Integer.getInstance(value).getValue().toString());
		} else if (control.getAttrType().equals(CMCObjectIdentifiers.id_cmc_senderNonce)) {
			out.add("senderNonce", ASN1OctetString.getInstance(value).getOctets());
		} else if (control.getAttrType().equals(CMCObjectIdentifiers.id_cmc_recipientNonce)) {
			out.add("recipientNonce", ASN1OctetString.getInstance(value).getOctets());
		}
	}

	private static String status(CMCStatusInfoV2 info) throws Exception {
		StringBuilder ids = new StringBuilder();
		for (BodyPartID id : info.getBodyList()) {
			ids.append(ids.length() == 0 ? "" : ",").append(id.getID());
		}
		String text = info.getStatusStringUTF8() == null ? "" : info.getStatusStringUTF8().getString();
		return STATUS.get(info.getcMCStatus()) + "|" + ids + "|" + other(info) + "|" + text;
	}

	private static String other(CMCStatusInfoV2 info) throws Exception {
		if (!info.hasOtherInfo()) {
			return "";
		}
		OtherStatusInfo other = info.getOtherStatusInfo();
		if (other.isFailInfo()) {
			int number = ASN1Integer.getInstance(CMCFailInfo.getInstance(other.toASN1Primitive()).toASN1Primitive()).intValueExact();
			return FAIL_INFO.get(number);
		}
		if (other.isPendingInfo()) {
			return java.util.Base64.getEncoder().encodeToString(PendInfo.getInstance(other.toASN1Primitive()).getPendToken());
		}
		return "extended " + base64(other);
	}
}
