#!/bin/sh
# Debian's chromium for the browser tests; quiet where it is there. Where it cannot be had, those tests skip: no failure.
command -v chromium >/dev/null 2>&1 && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "no chromium, and only root on Debian or Ubuntu can install it here: tests of the dashboard will be skipped" >&2
	exit 0
fi
echo "installing chromium for the tests of the dashboard" >&2
export DEBIAN_FRONTEND=noninteractive
if { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } >/dev/null 2>&1; then
	exit 0
fi
echo "chromium could not be installed: tests of the dashboard will be skipped" >&2
