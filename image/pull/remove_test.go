package pull

import (
	"archive/tar"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"minict/image"
	"minict/store"
)

// shelf is a store with images to remove: "a" with two tags in one repository
// and one in another, "b" with one tag and a layer that it shares with "a".
func shelf(t *testing.T) (*Client, string, store.Image, store.Image) {
	t.Helper()
	h, c := newHub(t), newClient(t)
	h.push("a", "1", made{layers: [][]tar.Header{base, top}})
	h.push("a", "2", made{layers: [][]tar.Header{base, top}})
	h.push("other", "1", made{layers: [][]tar.Header{base, top}})
	h.push("b", "1", made{layers: [][]tar.Header{base, {file("b")}}})
	for _, ref := range []string{"/a:1", "/a:2", "/other:1", "/b:1"} {
		pullFrom(t, c, h.host()+ref)
	}
	a, _, err := local(c).Resolve(t.Context(), h.host()+"/a:1")
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := local(c).Resolve(t.Context(), h.host()+"/b:1")
	if err != nil {
		t.Fatal(err)
	}
	checkStore(t, c.Store, 7, 3)
	return c, h.host() + "/", a, b
}

func using(users ...image.User) image.RemoveOptions {
	return image.RemoveOptions{Users: func() ([]image.User, error) { return users, nil }}
}

func remove(t *testing.T, c *Client, ref string, o image.RemoveOptions) image.RemoveResult {
	t.Helper()
	r, err := local(c).Remove(t.Context(), ref, o)
	if err != nil {
		t.Fatalf("remove %s: %v", ref, err)
	}
	return r
}

func checkLines(t *testing.T, got image.RemoveResult, untagged []string, deleted ...store.Digest) {
	t.Helper()
	if !slices.Equal(got.Untagged, untagged) {
		t.Errorf("untagged %v, want %v", got.Untagged, untagged)
	}
	if !slices.Equal(got.Deleted, deleted) {
		t.Errorf("deleted %v, want %v", got.Deleted, deleted)
	}
}

func refuses(t *testing.T, c *Client, ref string, o image.RemoveOptions, kind error, text string) {
	t.Helper()
	_, err := local(c).Remove(t.Context(), ref, o)
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("remove %s: error %v, want %v with %q", ref, err, kind, text)
	}
}

func TestRemoveByName(t *testing.T) {
	c, at, a, b := shelf(t)
	at1, at2, other := at+"a:1", at+"a:2", at+"other:1"
	sum := "@" + string(a.Manifest.Digest)
	checkLines(t, remove(t, c, at1, using()), []string{at1})
	checkLines(t, remove(t, c, at2, using()), []string{at2, at + "a" + sum})
	refuses(t, c, at2, using(), image.ErrUnknown, "no such image: "+at2)
	checkStore(t, c.Store, 7, 3)
	r := remove(t, c, other, using())
	checkLines(t, r, []string{other, at + "other" + sum}, a.ID, a.Layers[1].Key)
	if r.Freed == 0 {
		t.Error("nothing was freed")
	}
	checkStore(t, c.Store, 4, 2)
	read(t, c.Store, b.Layers[0], "etc/passwd")
	remove(t, c, at+"b:1", using())
	checkStore(t, c.Store, 0, 0)
}

func TestRemoveByID(t *testing.T) {
	c, at, a, b := shelf(t)
	refuses(t, c, image.ShortID(a.ID), using(), image.ErrConflict, "unable to delete "+image.ShortID(a.ID)+" (must be forced) - image is referenced in multiple repositories")
	checkLines(t, remove(t, c, b.ID.Hex()[:20], using()), []string{at + "b:1", at + "b@" + string(b.Manifest.Digest)}, b.ID, b.Layers[1].Key)
	o := using()
	o.Force = true
	r := remove(t, c, string(a.ID), o)
	if len(r.Untagged) != 5 || len(r.Deleted) != 3 {
		t.Errorf("%+v", r)
	}
	checkStore(t, c.Store, 0, 0)
	refuses(t, c, string(a.ID), using(), image.ErrUnknown, "no such image")
	refuses(t, c, "sha256:../x", using(), image.ErrReference, "not an image ID")
	refuses(t, c, "Bad", using(), image.ErrReference, "lowercase")
}

func TestRemoveByDigest(t *testing.T) {
	c, at, a, _ := shelf(t)
	ref := at + "a@" + string(a.Manifest.Digest)
	checkLines(t, remove(t, c, ref, using()), []string{ref})
	refuses(t, c, ref, using(), image.ErrUnknown, "no such image")
	checkStore(t, c.Store, 7, 3)
}

// TestRemoveInUse: what a container uses stays, layers and all.
func TestRemoveInUse(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	c, at, a, b := shelf(t)
	user := image.User{Container: id, Image: b.ID, Layers: []store.Digest{b.Layers[0].Key, b.Layers[1].Key}}
	running := user
	running.Running = true
	unrelated := image.User{Container: "x", Image: a.ID}
	refuses(t, c, at+"b:1", using(unrelated, user), image.ErrConflict,
		fmt.Sprintf("unable to remove repository reference %q (must force) - container 0123456789ab is using its referenced image %s", at+"b:1", image.ShortID(b.ID)))
	refuses(t, c, image.ShortID(b.ID), using(user), image.ErrConflict, "(must be forced) - image is being used by stopped container 0123456789ab")
	o := using(running)
	o.Force = true
	refuses(t, c, image.ShortID(b.ID), o, image.ErrConflict, "(cannot be forced) - image is being used by running container 0123456789ab")
	// One name of several is no loss to a container.
	checkLines(t, remove(t, c, at+"a:1", using(unrelated)), []string{at + "a:1"})

	r := remove(t, c, at+"b:1", o)
	checkLines(t, r, []string{at + "b:1", at + "b@" + string(b.Manifest.Digest)})
	img, _, err := local(c).Resolve(t.Context(), string(b.ID))
	if err != nil || len(img.Names)+len(img.Digests) != 0 {
		t.Errorf("after that: %+v, %v", img, err)
	}
	remove(t, c, string(b.ID), using())
	checkStore(t, c.Store, 4, 2)

	broken := errors.New("broken")
	o = image.RemoveOptions{Force: true, Users: func() ([]image.User, error) { return nil, broken }}
	refuses(t, c, string(a.ID), o, broken, "broken")
	checkStore(t, c.Store, 4, 2)
}

func TestFindByPrefix(t *testing.T) {
	h, c := newHub(t), newClient(t)
	var ids []string
	for i := range 17 { // two of them begin with the same digit
		repo := fmt.Sprint("r", i)
		h.push(repo, "latest", made{layers: [][]tar.Header{{file(repo)}}})
		ids = append(ids, pullFrom(t, c, h.host()+"/"+repo).Image.ID.Hex())
	}
	slices.Sort(ids)
	for i := range ids[1:] {
		if ids[i][0] == ids[i+1][0] {
			_, _, err := local(c).Resolve(t.Context(), ids[i][:1])
			if !errors.Is(err, image.ErrAmbiguous) {
				t.Errorf("%s: %v", ids[i][:1], err)
			}
			break
		}
	}
	// A name beats the start of an ID.
	h.push("library/"+ids[0][:4], "latest", made{layers: [][]tar.Header{base}})
	c.Config.Mirrors = map[string][]string{"docker.io": {h.URL}}
	named := pullFrom(t, c, ids[0][:4]).Image
	if img, _, err := local(c).Resolve(t.Context(), ids[0][:4]); err != nil || img.ID != named.ID {
		t.Errorf("%s is %s, %v", ids[0][:4], img.ID, err)
	}
	if img, _, err := local(c).Resolve(t.Context(), "sha256:"+ids[0][:10]); err != nil || img.ID.Hex() != ids[0] {
		t.Errorf("sha256:%s is %s, %v", ids[0][:10], img.ID, err)
	}
}
