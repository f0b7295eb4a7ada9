// SPDX-License-Identifier: Apache-2.0

import java.net.Socket;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.Set;
import javax.net.ssl.KeyManagerFactory;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.est.CACertsResponse;
import org.bouncycastle.est.CSRRequestResponse;
import org.bouncycastle.est.ESTAuth;
import org.bouncycastle.est.ESTException;
import org.bouncycastle.est.ESTService;
import org.bouncycastle.est.EnrollmentResponse;
import org.bouncycastle.est.jcajce.ChannelBindingProvider;
import org.bouncycastle.est.jcajce.JcaHttpAuthBuilder;
import org.bouncycastle.est.jcajce.JcaJceUtils;
import org.bouncycastle.est.jcajce.JsseESTServiceBuilder;
import org.bouncycastle.jsse.BCSSLSocket;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.pkcs.PKCS10CertificationRequestBuilder;
import org.bouncycastle.pkcs.jcajce.JcaPKCS10CertificationRequestBuilder;

/** Bouncy Castle's own EST client. */
final class Est {
	/**
	 * call takes op (cacerts, csrattrs, enroll, reenroll, serverkeygen), host, port, root
	 * (certificate), and as wanted label, user with password, clientKey with
	 * clientCert, tls (TLSv1.2 or TLSv1.3), linked, subject, and key with public
	 * for the request. It answers certificate, and by op attribute, key or retry;
	 * beside an error, status.
	 */
	static void call(Form in, Form out) throws Exception {
		ESTService service = service(in);
		try {
			switch (in.get("op")) {
			case "cacerts":
				CACertsResponse anchors = service.getCACerts();
				out.add("trusted", String.valueOf(anchors.isTrusted()));
				certificates(ESTService.storeToArray(anchors.getCertificateStore()), out);
				break;
			case "csrattrs":
				attributes(service.getCSRAttributes(), out);
				break;
			default:
				enrolled(enroll(service, in), out);
			}
		} catch (ESTException e) {
			out.add("status", String.valueOf(e.getStatusCode()));
			throw e;
		}
	}

	private static ESTService service(Form in) throws Exception {
		Set<TrustAnchor> roots = Set.of(new TrustAnchor(Keys.certificate(in.bytes("root")), null));
		JsseESTServiceBuilder builder = new JsseESTServiceBuilder(in.get("host"), Integer.parseInt(in.get("port")),
			JcaJceUtils.getCertPathTrustManager(roots, null));
		builder.withTLSVersion(in.get("tls", "TLS")).withTimeout(20_000);
		if (in.has("label")) {
			builder.withLabel(in.get("label"));
		}
		if (in.has("clientKey")) {
			builder.withKeyManagers(client(in).getKeyManagers());
		}
		if (in.has("linked")) { // Java's own TLS shows no channel binding, and Bouncy Castle's does
			builder.withProvider("BCJSSE").withChannelBindingProvider(new Binding());
		}
		return builder.build();
	}

	private static KeyManagerFactory client(Form in) throws Exception {
		KeyStore store = KeyStore.getInstance("PKCS12", Keys.PROVIDER);
		store.load(null, null);
		PrivateKey key = Keys.privateKey(in.bytes("clientKey"));
		store.setKeyEntry("client", key, null, new X509Certificate[] {Keys.certificate(in.bytes("clientCert"))});
		return JcaJceUtils.createKeyManagerFactory(KeyManagerFactory.getDefaultAlgorithm(), null, store, null);
	}

	private static final class Binding implements ChannelBindingProvider {
		@Override
		public boolean canAccessChannelBinding(Socket socket) {
			return socket instanceof BCSSLSocket;
		}

		@Override
		public byte[] getChannelBinding(Socket socket, String kind) {
			return ((BCSSLSocket) socket).getConnection().getChannelBinding(kind);
		}
	}

	private static EnrollmentResponse enroll(ESTService service, Form in) throws Exception {
		boolean again = in.get("op").equals("reenroll");
		boolean keygen = in.get("op").equals("serverkeygen");
		PKCS10CertificationRequestBuilder request = new JcaPKCS10CertificationRequestBuilder(
			new X500Name(in.get("subject")), Keys.publicKey(in.bytes("public")));
		ContentSigner signer = Keys.signer(Keys.privateKey(in.bytes("key")));
		ESTAuth auth = in.has("user") ? auth(in) : null;
		if (in.has("linked")) {
			return keygen ? service.simpleEnrollPopWithServersideCreation(request, signer, auth)
				: service.simpleEnrollPoP(again, request, signer, auth);
		}
		return keygen ? service.simpleEnrollWithServersideCreation(request.build(signer), auth)
			: service.simpleEnroll(again, request.build(signer), auth);
	}

	private static ESTAuth auth(Form in) throws Exception {
		return new JcaHttpAuthBuilder(null, in.get("user"), in.get("password").toCharArray()).build();
	}

	private static void enrolled(EnrollmentResponse answer, Form out) throws Exception {
		if (!answer.isCompleted()) {
			out.add("retry", String.valueOf(answer.getNotBefore()));
			return;
		}
		certificates(ESTService.storeToArray(answer.getStore()), out);
		if (answer.getPrivateKeyInfo() != null) {
			out.add("key", answer.getPrivateKeyInfo().getEncoded());
		}
	}

	private static void certificates(X509CertificateHolder[] all, Form out) throws Exception {
		for (X509CertificateHolder certificate : all) {
			out.add("certificate", certificate.getEncoded());
		}
	}

	private static void attributes(CSRRequestResponse answer, Form out) throws Exception {
		if (!answer.hasAttributesResponse()) {
			return;
		}
		for (ASN1ObjectIdentifier wanted : answer.getAttributesResponse().getRequirements()) {
			out.add("attribute", wanted.getId());
		}
	}
}
