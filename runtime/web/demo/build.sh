#!/usr/bin/env bash
# Makes what the demo page loads, in the folder `artifacts` beside this file: for each surrogate the network and the
# curve, and the data. FGIC is the command line to use; without it, it is built.
set -euo pipefail
cd "$(dirname "$0")"
fgic() {
    if [ -n "${FGIC:-}" ]; then "$FGIC" "$@"; else cargo run --quiet --release -p fgic -- "$@"; fi
}

new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
for shape in shapes/*.fgi; do
    name=$(basename "$shape" .fgi)
    mkdir -p "$new/program" "$new/artifacts/$name"
    cp digits.fgi "$new/program/digits.fgi"
    cp "$shape" "$new/program/shape.fgi"
    fgic build "$new/program/digits.fgi" --graph digits --grad loss --optimizer adam --clip inf --seed 1 \
        -o "$new/artifacts/$name/digits"
    fgic build "$new/program/digits.fgi" --graph curve --grad total --wrt v -o "$new/artifacts/$name/curve"
done
cp ../../data/digits/digits.csv.gz "$new/artifacts/"
rm -rf artifacts
mv "$new/artifacts" artifacts
