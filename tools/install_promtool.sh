#!/bin/sh
# promtool, out of Debian's package prometheus, into .prejoin/bin: the package is unpacked, not installed, and nothing is started.
# Quiet where it is there. Where it cannot be had, the tests that run the alert rules skip: no failure.
command -v promtool >/dev/null 2>&1 && exit 0
test -x .prejoin/bin/promtool && exit 0
bin="$PWD/.prejoin/bin"
folder=$(mktemp -d) || exit 0
trap 'rm -rf "$folder"' EXIT
echo "fetching promtool for the tests of the alert rules" >&2
if cd "$folder" && { [ "$(id -u)" != 0 ] || apt-get update -qq; } >/dev/null 2>&1 &&
	apt-get download -qq prometheus >/dev/null 2>&1 && dpkg-deb -x prometheus_*.deb . &&
	mkdir -p "$bin" && cp usr/bin/promtool "$bin/"; then
	exit 0
fi
echo "promtool could not be had: the tests that run the alert rules will be skipped" >&2
