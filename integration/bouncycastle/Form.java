// SPDX-License-Identifier: Apache-2.0

import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Names with values, in the order in which they were added. */
final class Form {
	private final Map<String, List<String>> values = new LinkedHashMap<>();

	static Form parse(String text) {
		Form form = new Form();
		for (String pair : text.split("&")) {
			int equals = pair.indexOf('=');
			if (equals >= 0) {
				form.add(decode(pair.substring(0, equals)), decode(pair.substring(equals + 1)));
			}
		}
		return form;
	}

	private static String decode(String text) {
		return URLDecoder.decode(text, StandardCharsets.UTF_8);
	}

	void add(String name, String value) {
		values.computeIfAbsent(name, n -> new ArrayList<>()).add(value);
	}

	void add(String name, byte[] value) {
		add(name, Base64.getEncoder().encodeToString(value));
	}

	boolean has(String name) {
		return values.containsKey(name);
	}

	List<String> all(String name) {
		return values.getOrDefault(name, List.of());
	}

	String get(String name) {
		if (!has(name)) {
			throw new IllegalArgumentException(name + " is missing");
		}
		return values.get(name).get(0);
	}

	String get(String name, String otherwise) {
		return has(name) ? get(name) : otherwise;
	}

	byte[] bytes(String name) {
		return bytesOf(get(name));
	}

	static byte[] bytesOf(String base64) {
		return Base64.getDecoder().decode(base64);
	}

	@Override
	public String toString() {
		StringBuilder text = new StringBuilder();
		values.forEach((name, all) -> {
			for (String value : all) {
				text.append(text.length() == 0 ? "" : "&").append(name).append('=')
					.append(URLEncoder.encode(value, StandardCharsets.UTF_8));
			}
		});
		return text.toString();
	}
}
