// SPDX-License-Identifier: Apache-2.0

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.Security;
import java.util.Map;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.jsse.provider.BouncyCastleJsseProvider;

/**
 * The other end of Estra's tests: Bouncy Castle, which is asked line by line. A
 * question is a verb, a space and a form (application/x-www-form-urlencoded); an
 * answer is "ok" or "error", a space and a form. Octets in a form are base64.
 * Nothing is kept from one question to the next.
 */
final class Main {
	interface Verb {
		void run(Form in, Form out) throws Exception;
	}

	private static final Map<String, Verb> VERBS = Map.ofEntries(
		Map.entry("pkcs10", Requests::pkcs10),
		Map.entry("crmf", Requests::crmf),
		Map.entry("pkidata", Data::make),
		Map.entry("authenticated", Data::verify),
		Map.entry("pkiresponse", Responses::read),
		Map.entry("sign", Signed::make),
		Map.entry("verify", Signed::verify),
		Map.entry("seal", Sealed::make),
		Map.entry("open", Opened::open),
		Map.entry("again", Structure::again),
		Map.entry("est", Est::call));

	public static void main(String[] args) throws Exception {
		Security.addProvider(new BouncyCastleProvider());
		Security.addProvider(new BouncyCastleJsseProvider());
		BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
		PrintStream answers = System.out;
		System.setOut(System.err); // what a library prints is no answer
		for (String line; (line = in.readLine()) != null;) {
			answers.println(answer(line));
			answers.flush();
		}
	}

	private static String answer(String line) {
		int space = line.indexOf(' ');
		Form out = new Form();
		try {
			Verb verb = VERBS.get(line.substring(0, space));
			if (verb == null) {
				throw new IllegalArgumentException("no such verb");
			}
			verb.run(Form.parse(line.substring(space + 1)), out);
			return "ok " + out;
		} catch (Exception | Error e) {
			StringBuilder text = new StringBuilder();
			for (Throwable cause = e; cause != null; cause = cause.getCause()) {
				text.append(text.length() == 0 ? "" : ": ").append(cause);
			}
			e.printStackTrace();
			out.add("error", text.toString()); // beside what is known by now, such as an HTTP status
			return "error " + out;
		}
	}
}
