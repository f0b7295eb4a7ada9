#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds Caddy with this checkout, and runs what the README names. It needs
# Git and Go.
set -eu

caddy=v2.11.9
xcaddy=v0.4.5
least=26 # Go 1.26

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)

usage() {
	cat <<'TEXT'
Usage:
  ./xcaddy.sh [ARGUMENT...]        build ./caddy; arguments go to `xcaddy build`, such as --with MODULE
  ./xcaddy.sh demo [ARGUMENT...]   build ./caddy and run `./caddy est demo`; --keep keeps what it made
  ./xcaddy.sh test [ARGUMENT...]   all tests; arguments go to `go test`
  ./xcaddy.sh bench [ARGUMENT...]  the benchmark in integration/bench
  ./xcaddy.sh chaos [ARGUMENT...]  faults of server, CA and disk, 1000 rounds of each (or ESTRA_CHAOS_ROUNDS),
                                   and what was counted; arguments go to `go test`
  ./xcaddy.sh help                 this text
TEXT
}

# need_go asks the installed Go, not a newer one that it could download.
need_go() {
	version=$(cd / && GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || version=none
	number=${version#*go1.}
	number=${number%%[!0-9]*}
	if [ "$version" = "$number" ] || [ -z "$number" ] || [ "$number" -lt "$least" ]; then
		echo "xcaddy.sh: Go 1.$least or later is needed, and here is: $version (https://go.dev/dl/)" >&2
		exit 1
	fi
}

# build stays in the caller's directory, so that `--with MODULE=../path` means
# what it says there. The replacement is of every version, so that xcaddy takes
# packages of this checkout from it too (`--with …/estra/module/srp`, CGO_ENABLED=1).
build() {
	need_go
	go run "github.com/caddyserver/xcaddy/cmd/xcaddy@$xcaddy" build "$caddy" \
		--output "$root/caddy" \
		--with github.com/caddy-est/estra@v0.0.0 --replace "github.com/caddy-est/estra=$root" "$@"
}

run_tests() {
	need_go
	cd "$root"
	go vet ./...
	# The race detector needs a C compiler; the packages below are those that
	# share state between requests.
	if command -v "$(go env CC)" >/dev/null 2>&1; then
		CGO_ENABLED=1 go test -race "$@" ./ra ./ra/anchor ./ra/certless ./ra/est ./ra/store ./module/srp
	else
		echo "xcaddy.sh: no C compiler, so the race detector does not run" >&2
	fi
	go test "$@" ./...
}

# run_chaos ends with 1 when anything was lost, issued twice or not recorded. In the
# package's folder `go test` prints as it goes.
run_chaos() {
	need_go
	cd "$root/integration"
	export ESTRA_CHAOS_ROUNDS="${ESTRA_CHAOS_ROUNDS:-1000}"
	exec go test -count=1 -timeout 0 -run '^TestChaos$' "$@"
}

case "${1-}" in
demo)
	shift
	build
	exec "$root/caddy" est demo "$@"
	;;
test)
	shift
	run_tests "$@"
	;;
bench)
	shift
	need_go
	cd "$root"
	exec go run ./integration/bench "$@"
	;;
chaos)
	shift
	run_chaos "$@"
	;;
help | -h | --help)
	usage
	;;
'' | -*)
	build "$@"
	;;
*)
	echo "xcaddy.sh: unknown command: $1" >&2
	usage >&2
	exit 2
	;;
esac
