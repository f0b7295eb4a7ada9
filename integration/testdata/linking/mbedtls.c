/* SPDX-License-Identifier: Apache-2.0
 *
 * A device with Mbed TLS: the snippet of docs/linking.md stands before this.
 * Arguments: port, file with the server's root, TLS version. It prints the value,
 * sends what it reads from standard input, and prints the answer. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>

static void check(int failed, const char *what)
{
	if (failed) {
		fprintf(stderr, "%s: -0x%04x\n", what, (unsigned)-failed);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	mbedtls_net_context net;
	mbedtls_ssl_context ssl;
	mbedtls_ssl_config conf;
	mbedtls_x509_crt root;
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context random;
	char value[45];
	unsigned char buffer[8192];
	int n;

	check(argc != 4, "arguments: port root version");
	check(strcmp(argv[3], "1.2") != 0, "this program speaks TLS 1.2");
	mbedtls_net_init(&net);
	mbedtls_ssl_init(&ssl);
	mbedtls_ssl_config_init(&conf);
	mbedtls_x509_crt_init(&root);
	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&random);
	check(mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0), "random");
	check(mbedtls_x509_crt_parse_file(&root, argv[2]), "root");
	check(mbedtls_net_connect(&net, "127.0.0.1", argv[1], MBEDTLS_NET_PROTO_TCP), "connect");
	check(mbedtls_ssl_config_defaults(&conf, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT), "defaults");
	mbedtls_ssl_conf_ca_chain(&conf, &root, NULL);
	mbedtls_ssl_conf_authmode(&conf, MBEDTLS_SSL_VERIFY_REQUIRED);
	mbedtls_ssl_conf_rng(&conf, mbedtls_ctr_drbg_random, &random);
	mbedtls_ssl_conf_min_version(&conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
	check(mbedtls_ssl_setup(&ssl, &conf), "setup");
	check(mbedtls_ssl_set_hostname(&ssl, "localhost"), "host name");
	mbedtls_ssl_set_bio(&ssl, &net, mbedtls_net_send, mbedtls_net_recv, NULL);
	check(mbedtls_ssl_handshake(&ssl), "handshake");
	check(linking_value(&ssl, value), "no value");
	puts(value);
	fflush(stdout);
	while ((n = (int)read(0, buffer, sizeof(buffer))) > 0)
		check(mbedtls_ssl_write(&ssl, buffer, n) != n, "write");
	while ((n = mbedtls_ssl_read(&ssl, buffer, sizeof(buffer))) > 0)
		fwrite(buffer, 1, n, stdout);
	return 0;
}
