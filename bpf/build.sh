#!/bin/sh
# Compiles the programs for both byte orders: bpf/build.sh OUTDIR [FAULT...]
# A FAULT (antispoof, ingress) also builds that deliberately faulty variant, which only the demo loads.
set -eu
here=$(dirname "$0")
out=${1:?usage: build.sh OUTDIR [antispoof|ingress ...]}
shift
mkdir -p "$out"
strip=$(command -v llvm-strip || find /usr/lib/llvm-*/bin -name llvm-strip 2>/dev/null | head -n 1 || true)

build() { # byte order, name, options
	order=$1 name=$2
	shift 2
	# The asm/ headers are the build machine's own architecture's; nothing in them reaches the object. They
	# need its name too, or they ask for a 32-bit libc, which a fresh machine has not.
	clang -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -target "bpf$order" -mcpu=v3 \
		-I"/usr/include/$(uname -m)-linux-gnu" -D"__$(uname -m)__" "$@" -c "$here/stockade.bpf.c" -o "$out/.$name.new"
	# BTF stays, DWARF goes: a tenth of the size.
	[ -z "$strip" ] || "$strip" -g -R .BTF.ext -R .rel.BTF.ext -R .rel.BTF "$out/.$name.new"
	mv "$out/.$name.new" "$out/$name"
}

for order in el eb; do
	build "$order" "stockade.bpf.$order.o"
	for fault; do
		macro=BREAK_$(printf %s "$fault" | tr '[:lower:]' '[:upper:]')
		build "$order" "stockade-$fault.bpf.$order.o" "-D$macro"
	done
done
