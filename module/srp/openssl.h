// SPDX-License-Identifier: Apache-2.0

#ifndef EST_OPENSSL_H
#define EST_OPENSSL_H

#include <openssl/ssl.h>

// What a call has come to. OpenSSL keeps its errors for each thread, and Go may
// have another thread for the next call: so text is filled in at once.
typedef struct {
	int n;       // bytes
	int code;    // of SSL_get_error
	int guess;   // 1: the client had used its password
	char text[120];
} est_result;

SSL_CTX *est_context(void);
SSL *est_new(SSL_CTX *ctx, const char *user, size_t user_len,
	const unsigned char *N, int N_len, const unsigned char *g, int g_len,
	const unsigned char *s, int s_len, const unsigned char *v, int v_len);
SSL_CTX *est_client_context(char *user, char *password);
SSL *est_client(SSL_CTX *ctx);
void est_free(SSL *ssl);
est_result est_handshake(SSL *ssl);
est_result est_read(SSL *ssl, unsigned char *p, int n);
est_result est_write(SSL *ssl, const unsigned char *p, int n);
int est_came(SSL *ssl, const unsigned char *p, int n);
size_t est_leaving(SSL *ssl);
int est_leave(SSL *ssl, unsigned char *p, int n);
void est_closing(SSL *ssl);
int est_good(SSL *ssl);
unsigned int est_suite(SSL *ssl);
size_t est_own(SSL *ssl, unsigned char *p, size_t n);
size_t est_unique(SSL *ssl, unsigned char *p, size_t n);

#endif
