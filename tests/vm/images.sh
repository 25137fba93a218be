# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What guests boot, kept in the cache: Debian's kernels, each with the modules that a lab host needs,
# and a disk with the lab's host image.
#
# VM_IMAGE has a recipe version: raise it when what is made changes, and it is made anew.

# shellcheck disable=SC2034  # used where this is sourced
VM_IMAGE=$CACHE/vm-1-$(basename "$HOST_IMAGE")
VM_RELEASES=(bookworm trixie)
VM_MODULES=(virtio_pci virtio_blk overlay veth bridge tun unix_diag tcp_diag udp_diag netlink_diag
	af_packet_diag nf_tables)

# vm_modules ROOT KERNEL TARGET: copies them and what they need, and in which order they load.
vm_modules() {
	local root=$1 kernel=$2 target=$3 module file
	depmod -b "$root" "$kernel" || return 1
	mkdir -p "$target"
	for module in "${VM_MODULES[@]}"; do
		modprobe -d "$root" -S "$kernel" --show-depends "$module" || return 1
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$target.list"
	while read -r file; do
		cp "$file" "$target/" || return 1
		basename "$file"
	done <"$target.list" >"$target/order"
	find "$target" -name '*.xz' -exec xz -d {} +
	sed -i 's/\.xz$//' "$target/order"
	rm "$target.list"
}

# The kernel of a Debian release, and a first part of what it boots.
fill_kernel() {
	local release=$1 dir=$2 root=$2.root kernel
	mkdir -p "$dir/initrd/bin"
	mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' \
		--include=linux-image-cloud-amd64,busybox-static "$release" "$root" "$(mirror)" \
		2>"$dir/log" || { tail -n 3 "$dir/log" >&2 && return 1; }
	[ -e "$root/lib" ] || # usr-merged, by a package's script
		 ln -s usr/lib "$root/lib"
	kernel=$(cd "$root/boot" && echo vmlinuz-*)
	kernel=${kernel#vmlinuz-}
	cp "$root/boot/vmlinuz-$kernel" "$dir/vmlinuz"
	cp "$(find "$root" -path '*/bin/busybox' | head -n 1)" "$dir/initrd/bin/busybox"
	vm_modules "$root" "$kernel" "$dir/initrd/modules" || return 1
	rm -rf "$root" "$dir/log"
}

fill_vm() {
	local release
	for release in "${VM_RELEASES[@]}"; do
		fill_kernel "$release" "$1/$release" || return 1
	done
	mkfs.ext4 -q -F -O ^has_journal -d "$HOST_IMAGE" "$1/disk" 1G
}
