# make          build ./minict
# make test     everything that is proved, on this machine (Debian 12, root)
# make demo     the golden demo
# The other targets are explained in docs/testing.md.

export CGO_ENABLED := 0

PREFIX  ?= /usr/local
DESTDIR ?=
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 10s

BUILD   := go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)"
MONITOR := container/embed/monitor
WHOLE   := cmd/minict/whole

.PHONY: all minict monitor whole install test unit e2e validation engines vm demo golden bench fuzz fmt lint deps clean

all: minict

# The go command knows by itself what is up to date, so all programs are always
# handed to it. minict embeds two others, which come first: the monitor, and
# the whole of itself for what is too large to load for each run.
minict: monitor whole
	$(BUILD) -tags split -o $@ ./cmd/minict

whole: monitor
	$(BUILD) -o $(WHOLE) ./cmd/minict

monitor:
	$(BUILD) -o $(MONITOR) ./cmd/minict-monitor

install: minict
	install -D -m 0755 minict $(DESTDIR)$(PREFIX)/bin/minict
	ln -sf minict $(DESTDIR)$(PREFIX)/bin/minict-oci
	mkdir -p $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	./minict completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/minict
	./minict completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_minict
	./minict completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/minict.fish

test: deps minict lint unit e2e vm

# The packages' own tests, one after the other: some mount, and others look at
# what is mounted.
unit: monitor
	go test -count=1 -timeout 10m -p 1 $$(go list ./... | grep -v '^minict/tests')

# What looks at minict from outside: the import table, the transcripts, the
# end-to-end tests. One after the other, and not beside the packages' tests:
# they compare the host before and after.
e2e: minict
	go test -count=1 -timeout 15m -p 1 ./tests/...

# Two of them alone: the OCI validation suite, and the engines that run their
# containers with minict.
validation engines: minict
	go test -count=1 -timeout 10m -v ./tests/$@

# What CRIU executes, and what that loads; its own libraries come by themselves.
CRIU := /bin/busybox,/usr/sbin/criu,/usr/sbin/ip,/usr/bin/tar,/usr/bin/gzip,/usr/sbin/iptables-save,/usr/sbin/iptables-restore,/usr/sbin/ip6tables-save,/usr/sbin/ip6tables-restore,/usr/lib/x86_64-linux-gnu/xtables/libxt_standard.so,/usr/lib/x86_64-linux-gnu/xtables/libxt_mark.so

# The same end-to-end tests, the OCI validation suite, and CRIU, in a virtual
# machine with nothing but cgroup v2, and a kernel that Debian's CRIU knows.
vm: minict
	go build -o build/vm ./tests/vm
	go test -count=1 -timeout 15m -exec "$(CURDIR)/build/vm -binary $(CURDIR)/minict" ./tests/e2e
	go test -count=1 ./tests/validation -run TestBuild
	go test -count=1 -timeout 15m -exec "$(CURDIR)/build/vm -binary $(CURDIR)/minict -bring $(CURDIR)/build/validation" \
		./tests/validation -args -programs /srv/validation -peers none
	go test -count=1 -timeout 15m -exec "$(CURDIR)/build/vm -binary $(CURDIR)/minict -programs $(CRIU)" ./tests/oci -run TestCRIU -args -criu

demo: minict
	tests/deps demo
	go run ./tests/demo

# Writes what the demo is compared with: look at the difference before it is committed.
golden: minict
	go run ./tests/demo -update

bench: minict
	tests/deps bench
	go run ./tests/bench

fuzz: monitor
	tests/fuzz $(FUZZTIME)

deps:
	tests/deps test

fmt:
	gofmt -w $$(git ls-files --cached --others --exclude-standard '*.go')

lint: whole
	@loose=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$loose" ]; then echo "not formatted (make fmt):" $$loose >&2; exit 1; fi
	go vet ./...

clean:
	rm -rf minict $(MONITOR) $(WHOLE) build dist
