#!/usr/bin/env bash
# Runs all tests. Those of the GPU need a Vulkan driver: where there is none, Mesa's software driver is
# installed if that is possible without asking.
set -euo pipefail
cd "$(dirname "$0")/.."

has_vulkan_driver() {
    [ -n "${VK_DRIVER_FILES:-}" ] || compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null ||
        compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null
}

install_vulkan_driver() {
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
    "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            --no-install-recommends mesa-vulkan-drivers libvulkan1
}

if [ "$(uname -s)" = Linux ] && ! has_vulkan_driver; then
    command -v apt-get >/dev/null && install_vulkan_driver ||
        echo "no Vulkan driver could be installed: the tests of the GPU will fail" >&2
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log" || status=$?
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$log"
exit "$status"
