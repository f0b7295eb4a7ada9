// SPDX-License-Identifier: Apache-2.0

//go:build cgo

// OpenSSL 3 has deprecated SRP, and keeps it.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <stdlib.h>
#include <string.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include "openssl.h"
#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "OpenSSL 3 is needed (Debian: libssl-dev)"
#endif
#ifdef OPENSSL_NO_SRP
#error "this OpenSSL has no SRP"
#endif

// The one user that a connection is for.
typedef struct {
	char *user;
	BIGNUM *N, *g, *s, *v;
} est_user;

static void est_user_free(est_user *u) {
	if (u == NULL) return;
	free(u->user);
	BN_free(u->N);
	BN_free(u->g);
	BN_free(u->s);
	BN_clear_free(u->v);
	free(u);
}

// est_give hands over what Go has looked up. It is C's own: Go is never called.
static int est_give(SSL *ssl, int *alert, void *arg) {
	est_user *u = SSL_get_app_data(ssl);
	const char *name = SSL_get_srp_username(ssl);
	(void)arg;
	*alert = SSL_AD_INTERNAL_ERROR;
	if (u == NULL || name == NULL || strcmp(name, u->user) != 0) return SSL3_AL_FATAL;
	if (SSL_set_srp_server_param(ssl, u->N, u->g, u->s, u->v, NULL) != 1) return SSL3_AL_FATAL;
	return SSL_ERROR_NONE;
}

SSL_CTX *est_context(void) {
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	if (ctx == NULL) return NULL;
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_clear_options(ctx, SSL_OP_NO_ENCRYPT_THEN_MAC | SSL_OP_NO_EXTENDED_MASTER_SECRET | SSL_OP_NO_TLSv1_2);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
		SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION) != 1 ||
		SSL_CTX_set_cipher_list(ctx, "SRP-AES-256-CBC-SHA:SRP-AES-128-CBC-SHA") != 1 ||
		SSL_CTX_set_srp_username_callback(ctx, est_give) != 1) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

SSL *est_new(SSL_CTX *ctx, const char *user, size_t user_len,
	const unsigned char *N, int N_len, const unsigned char *g, int g_len,
	const unsigned char *s, int s_len, const unsigned char *v, int v_len) {
	BIO *in = NULL, *out = NULL;
	SSL *ssl = NULL;
	est_user *u = calloc(1, sizeof *u);
	if (u == NULL) return NULL;
	u->user = calloc(1, user_len + 1);
	if (u->user == NULL) goto failed;
	memcpy(u->user, user, user_len);
	u->N = BN_bin2bn(N, N_len, NULL);
	u->g = BN_bin2bn(g, g_len, NULL);
	u->s = BN_bin2bn(s, s_len, NULL);
	u->v = BN_bin2bn(v, v_len, NULL);
	in = BIO_new(BIO_s_mem());
	out = BIO_new(BIO_s_mem());
	ssl = SSL_new(ctx);
	if (u->N == NULL || u->g == NULL || u->s == NULL || u->v == NULL || in == NULL || out == NULL || ssl == NULL) goto failed;
	BIO_set_mem_eof_return(in, -1);
	SSL_set_bio(ssl, in, out);
	SSL_set_app_data(ssl, u);
	SSL_set_accept_state(ssl);
	return ssl;
failed:
	SSL_free(ssl);
	BIO_free(in);
	BIO_free(out);
	est_user_free(u);
	ERR_clear_error();
	return NULL;
}

SSL_CTX *est_client_context(char *user, char *password) {
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	if (ctx == NULL) return NULL;
	if (SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION) != 1 ||
		SSL_CTX_set_cipher_list(ctx, "SRP-AES-256-CBC-SHA") != 1 ||
		SSL_CTX_set_srp_username(ctx, user) != 1 ||
		SSL_CTX_set_srp_password(ctx, password) != 1) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

SSL *est_client(SSL_CTX *ctx) {
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	SSL *ssl = SSL_new(ctx);
	if (in == NULL || out == NULL || ssl == NULL || SSL_set_tlsext_host_name(ssl, "localhost") != 1) {
		SSL_free(ssl);
		BIO_free(in);
		BIO_free(out);
		ERR_clear_error();
		return NULL;
	}
	BIO_set_mem_eof_return(in, -1);
	SSL_set_bio(ssl, in, out);
	SSL_set_connect_state(ssl);
	return ssl;
}

void est_free(SSL *ssl) {
	est_user_free(SSL_get_app_data(ssl));
	SSL_free(ssl);
	ERR_clear_error();
}

static est_result est_end(SSL *ssl, int n) {
	est_result r = {n, SSL_ERROR_NONE, 0, {0}};
	if (n <= 0) {
		r.n = 0;
		r.code = SSL_get_error(ssl, n);
		unsigned long e = ERR_peek_error();
		const char *why = e == 0 ? NULL : ERR_reason_error_string(e);
		strncpy(r.text, why == NULL ? "the TLS library gives no reason" : why, sizeof r.text - 1);
	}
	ERR_clear_error();
	return r;
}

// est_handshake goes on with a handshake. After the client's key exchange an error
// is one of its password: nothing else is left that could differ.
est_result est_handshake(SSL *ssl) {
	ERR_clear_error();
	est_result r = est_end(ssl, SSL_do_handshake(ssl));
	OSSL_HANDSHAKE_STATE at = SSL_get_state(ssl);
	r.guess = at == TLS_ST_SR_KEY_EXCH || at == TLS_ST_SR_CHANGE || at == TLS_ST_SR_FINISHED;
	// The verifier isn't needed any more.
	if (r.code == SSL_ERROR_NONE) {
		est_user_free(SSL_get_app_data(ssl));
		SSL_set_app_data(ssl, NULL);
	}
	return r;
}

est_result est_read(SSL *ssl, unsigned char *p, int n) {
	ERR_clear_error();
	return est_end(ssl, SSL_read(ssl, p, n));
}

est_result est_write(SSL *ssl, const unsigned char *p, int n) {
	ERR_clear_error();
	return est_end(ssl, SSL_write(ssl, p, n));
}

int est_came(SSL *ssl, const unsigned char *p, int n) { return BIO_write(SSL_get_rbio(ssl), p, n); }
size_t est_leaving(SSL *ssl) { return BIO_ctrl_pending(SSL_get_wbio(ssl)); }
int est_leave(SSL *ssl, unsigned char *p, int n) { return BIO_read(SSL_get_wbio(ssl), p, n); }

// est_closing makes a close_notify.
void est_closing(SSL *ssl) {
	SSL_shutdown(ssl);
	ERR_clear_error();
}

// est_good says that what is demanded was negotiated.
int est_good(SSL *ssl) {
	return SSL_version(ssl) == TLS1_2_VERSION && SSL_get_extms_support(ssl) == 1 && SSL_session_reused(ssl) == 0;
}

unsigned int est_suite(SSL *ssl) { return SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl)); }
size_t est_unique(SSL *ssl, unsigned char *p, size_t n) { return SSL_get_peer_finished(ssl, p, n); }
size_t est_own(SSL *ssl, unsigned char *p, size_t n) { return SSL_get_finished(ssl, p, n); }
