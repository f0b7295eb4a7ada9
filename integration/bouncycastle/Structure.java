// SPDX-License-Identifier: Apache-2.0

import org.bouncycastle.asn1.ASN1Encoding;
import org.bouncycastle.asn1.ASN1Object;
import org.bouncycastle.asn1.ASN1Primitive;

/** Bouncy Castle's classes of ASN.1. */
final class Structure {
	/**
	 * again takes class (below org.bouncycastle.asn1, such as cmc.GetCRL) and der, and
	 * answers with what Bouncy Castle makes of the fields that it read.
	 */
	static void again(Form in, Form out) throws Exception {
		Class<?> kind = Class.forName("org.bouncycastle.asn1." + in.get("class"));
		Object read = kind.getMethod("getInstance", Object.class).invoke(null, ASN1Primitive.fromByteArray(in.bytes("der")));
		out.add("der", ((ASN1Object) read).getEncoded(ASN1Encoding.DER));
	}
}
