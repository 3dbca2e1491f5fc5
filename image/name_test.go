package image

import (
	"errors"
	"strings"
	"testing"

	"github.com/distribution/reference"
)

const sum = "sha256:e7d92cdc71feacf90708cb59182d0df1b911f8ae022d29e8e95d75ca6a99776a"

func TestParse(t *testing.T) {
	for ref, want := range map[string][2]string{ // canonical, familiar
		"alpine":                                    {"docker.io/library/alpine:latest", "alpine:latest"},
		"alpine:3.20":                               {"docker.io/library/alpine:3.20", "alpine:3.20"},
		"ann/tool":                                  {"docker.io/ann/tool:latest", "ann/tool:latest"},
		"docker.io/alpine":                          {"docker.io/library/alpine:latest", "alpine:latest"},
		"index.docker.io/ann/tool":                  {"docker.io/ann/tool:latest", "ann/tool:latest"},
		"localhost/x":                               {"localhost/x:latest", "localhost/x:latest"},
		"127.0.0.1:5000/alpine:3.20":                {"127.0.0.1:5000/alpine:3.20", "127.0.0.1:5000/alpine:3.20"},
		"[::1]:5000/x":                              {"[::1]:5000/x:latest", "[::1]:5000/x:latest"},
		"Example/x":                                 {"Example/x:latest", "Example/x:latest"},
		"ghcr.io/a/b/c__d.e-f--g:V_1.2-x":           {"ghcr.io/a/b/c__d.e-f--g:V_1.2-x", "ghcr.io/a/b/c__d.e-f--g:V_1.2-x"},
		"alpine@" + sum:                             {"docker.io/library/alpine@" + sum, "alpine@" + sum},
		"alpine:3.20@" + sum:                        {"docker.io/library/alpine:3.20@" + sum, "alpine:3.20@" + sum},
		"docker.io/library/library/x":               {"docker.io/library/library/x:latest", "library/library/x:latest"},
		"sha256:" + strings.Repeat("a", 64) + "":    {"docker.io/library/sha256:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("a", 64)},
		"x:" + strings.Repeat("t", 128):             {"docker.io/library/x:" + strings.Repeat("t", 128), "x:" + strings.Repeat("t", 128)},
		"a.example/" + strings.Repeat("p", maxPath): {"a.example/" + strings.Repeat("p", maxPath) + ":latest", "a.example/" + strings.Repeat("p", maxPath) + ":latest"},
	} {
		n, err := Parse(ref)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if got := [2]string{n.String(), n.Familiar()}; got != want {
			t.Errorf("%s: %v, want %v", ref, got, want)
		}
	}
}

var badReferences = map[string]string{ // with a part of the error
	"":                                 "empty",
	"Alpine":                           "lowercase",
	"ann/Tool:1":                       "lowercase",
	"a b":                              "repository name",
	"a//b":                             "repository name",
	"/a":                               "",
	"a/":                               "repository name",
	"a:":                               "bad tag",
	"a:-x":                             "bad tag",
	"a:" + strings.Repeat("t", 129):    "bad tag",
	"a@":                               "bad digest",
	"a@sha256:123":                     "bad digest",
	"a@md5:" + strings.Repeat("a", 32): "bad digest",
	"a@" + strings.ToUpper(sum):        "bad digest",
	"-a":                               "repository name",
	"a-":                               "repository name",
	"a_.b":                             "repository name",
	"a___b":                            "repository name",
	"a..b":                             "repository name",
	"../etc/passwd":                    "",
	"http://x/y":                       "",
	"x:80:80/y":                        "registry name",
	"-x.y/z":                           "registry name",
	"[::1/x":                           "registry name",
	strings.Repeat("a", 64):            "image ID",
	"a.b/" + strings.Repeat("p", 256):  "longer",
	"a\n":                              "",
	"é":                                "",
}

func TestParseBad(t *testing.T) {
	for ref, part := range badReferences {
		n, err := Parse(ref)
		if !errors.Is(err, ErrReference) || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v, error %v, want one with %q", ref, n, err, part)
			continue
		}
		if strings.Contains(err.Error(), "\n") || len(err.Error()) > 400 {
			t.Errorf("%q: not a line: %q", ref, err)
		}
	}
}

// FuzzParse holds the parser to the one of Docker.
func FuzzParse(f *testing.F) {
	for _, ref := range []string{"alpine", "a.b:5/c/d:e@" + sum, "[::1]:5000/x", "A/b", "localhost/x:1", "a_-b", "index.docker.io/x", "docker.io/x"} {
		f.Add(ref)
	}
	for ref := range badReferences {
		f.Add(ref)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		got, err := Parse(ref)
		theirs, theirErr := reference.ParseNormalizedNamed(ref)
		if (err == nil) != (theirErr == nil) {
			t.Fatalf("%q: %v, Docker's parser %v", ref, err, theirErr)
		}
		if err != nil {
			return
		}
		theirs = reference.TagNameOnly(theirs)
		if got.String() != theirs.String() || got.Familiar() != reference.FamiliarString(theirs) {
			t.Fatalf("%q: %s (%s), Docker's parser %s (%s)", ref, got, got.Familiar(), theirs, reference.FamiliarString(theirs))
		}
		again, err := Parse(got.String())
		if err != nil || again != got {
			t.Fatalf("%q: %v, read again %v, %v", ref, got, again, err)
		}
	})
}
