#!/usr/bin/env bash
# Runs all tests. They need a Vulkan driver, Chromium, and the validators of SPIR-V and GLSL: what is missing is
# installed if that is possible without asking, Mesa's software driver where there is no driver at all.
set -euo pipefail
cd "$(dirname "$0")/.."

has_vulkan_driver() {
    [ -n "${VK_DRIVER_FILES:-}" ] || compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null ||
        compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null
}

has_chromium() {
    [ -n "${CHROMIUM:-}" ] || command -v chromium chromium-browser google-chrome >/dev/null
}

missing=()
has_vulkan_driver || missing+=(mesa-vulkan-drivers libvulkan1)
has_chromium || missing+=(chromium fonts-dejavu-core)
command -v python3 >/dev/null || missing+=(python3)
command -v spirv-val >/dev/null || missing+=(spirv-tools)
command -v glslangValidator >/dev/null || missing+=(glslang-tools)

install_missing() {
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
    "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            --no-install-recommends "${missing[@]}"
}

if [ "$(uname -s)" = Linux ] && [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null && install_missing ||
        echo "could not install ${missing[*]}: the tests that need them will fail" >&2
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log" || status=$?
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$log"
exit "$status"
