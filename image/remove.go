package image

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"minict/store"
)

// User is a container that needs an image.
type User struct {
	Container string // its ID
	Running   bool
	Image     store.Digest   // ID of its image
	Layers    []store.Digest // keys of the layers under it
}

// RemoveOptions are for Remove. Users gives the containers of the machine; it
// is called under the exclusive lock of the index, so that no container can be
// made from the image between its answer and the removal, and must not use the
// index itself.
type RemoveOptions struct {
	Force bool
	Users func() ([]User, error)
}

// RemoveResult is what a removal did, in the order in which Docker tells it.
type RemoveResult struct {
	Untagged []string       // familiar references
	Deleted  []store.Digest // the image's ID and the keys of its layers that nothing else has
	Freed    int64          // bytes
}

// Remove does what docker rmi does. By a name it takes the name away, and the
// image with its last name; by an ID it removes the image if it has one name
// at most. A container that uses the image forbids that (ErrConflict). Force
// removes an image with many names, and takes the last name from an image in
// use, which then stays without one for as long as the container.
func (c *Client) Remove(ctx context.Context, ref string, o RemoveOptions) (RemoveResult, error) {
	var result RemoveResult
	// If this process is killed before it has collected what the index does
	// not name any more, the ingest makes the next one do it. Without space
	// for one, the image goes all the same.
	sign, full := c.Store.Ingest(ctx)
	if full == nil {
		defer sign.Close()
	}
	decided := false
	err := c.Store.Update(ctx, func(tx *store.Tx) error {
		img, name, err := find(tx, ref)
		if err != nil {
			return err
		}
		users, err := usersOf(img.ID, o.Users)
		if err != nil {
			return err
		}
		r := &removal{tx: tx, img: img, users: users, force: o.Force}
		if name != "" {
			err = r.byName(name)
		} else {
			err = r.byID()
		}
		result, decided = r.result, err == nil
		return err
	})
	if err != nil {
		if decided && full == nil {
			sign.Abandon() // whether it was written down nobody knows
		}
		return RemoveResult{}, err
	}
	if len(result.Deleted) == 0 {
		return result, nil
	}
	result.Freed, err = c.Store.Collect(ctx, needed(o.Users))
	return result, err
}

// needed turns users into what the store must keep for them.
func needed(users func() ([]User, error)) func() (map[store.Digest]bool, error) {
	if users == nil {
		return nil
	}
	return func() (map[store.Digest]bool, error) {
		all, err := users()
		need := make(map[store.Digest]bool)
		for _, u := range all {
			need[u.Image] = true
			for _, key := range u.Layers {
				need[key] = true
			}
		}
		return need, err
	}
}

func usersOf(id store.Digest, users func() ([]User, error)) ([]User, error) {
	if users == nil {
		return nil, nil
	}
	all, err := users()
	return slices.DeleteFunc(slices.Clone(all), func(u User) bool { return u.Image != id }), err
}

// removal is one run of Remove inside its transaction.
type removal struct {
	tx     *store.Tx
	img    store.Image
	users  []User
	force  bool
	result RemoveResult
}

func (r *removal) byName(name string) error {
	if !slices.Contains(r.img.Names, name) {
		return r.dropDigests(func(d string) bool { return d == name }) // known by that digest, named otherwise
	}
	repository := repositoryOf(name)
	rest := slices.DeleteFunc(slices.Clone(r.img.Names), func(n string) bool {
		// A digest of the same repository goes with its last tag.
		return n == name || repositoryOf(n) == repository && strings.Contains(n, "@")
	})
	if len(rest) > 0 {
		return r.untag(name, rest)
	}
	if len(r.users) > 0 && !r.force {
		return fmt.Errorf("%w: unable to remove repository reference %q (must force) - container %s is using its referenced image %s",
			ErrConflict, familiar(name), short(r.users[0].Container), ShortID(r.img.ID))
	}
	return r.all()
}

// untag takes one of several names, with the repository's digests if no other
// name is of that repository.
func (r *removal) untag(name string, rest []string) error {
	if err := r.tx.Untag(name); err != nil {
		return err
	}
	r.result.Untagged = append(r.result.Untagged, familiar(name))
	repository := repositoryOf(name)
	if slices.ContainsFunc(rest, func(n string) bool { return repositoryOf(n) == repository }) {
		return nil
	}
	return r.dropDigests(func(d string) bool { return repositoryOf(d) == repository })
}

func (r *removal) dropDigests(drop func(string) bool) error {
	var keep []string
	for _, d := range r.img.Digests {
		if !drop(d) {
			keep = append(keep, d)
			continue
		}
		r.result.Untagged = append(r.result.Untagged, familiar(d))
		if slices.Contains(r.img.Names, d) {
			if err := r.tx.Untag(d); err != nil {
				return err
			}
		}
	}
	return r.tx.SetDigests(r.img.ID, keep)
}

func (r *removal) byID() error {
	id := ShortID(r.img.ID)
	for _, u := range r.users {
		if u.Running {
			return fmt.Errorf("%w: unable to delete %s (cannot be forced) - image is being used by running container %s", ErrConflict, id, short(u.Container))
		}
	}
	if !r.force && len(r.users) > 0 {
		return fmt.Errorf("%w: unable to delete %s (must be forced) - image is being used by stopped container %s", ErrConflict, id, short(r.users[0].Container))
	}
	tags := slices.DeleteFunc(slices.Clone(r.img.Names), func(n string) bool { return strings.Contains(n, "@") })
	if !r.force && len(tags) > 1 {
		return fmt.Errorf("%w: unable to delete %s (must be forced) - image is referenced in multiple repositories", ErrConflict, id)
	}
	return r.all()
}

// all takes all names and, unless a container needs it, the image.
func (r *removal) all() error {
	for _, n := range r.img.Names {
		if !slices.Contains(r.img.Digests, n) {
			r.result.Untagged = append(r.result.Untagged, familiar(n))
		}
	}
	if len(r.users) > 0 {
		for _, n := range r.img.Names {
			if err := r.tx.Untag(n); err != nil {
				return err
			}
		}
		for _, d := range r.img.Digests {
			r.result.Untagged = append(r.result.Untagged, familiar(d))
		}
		return r.tx.SetDigests(r.img.ID, nil)
	}
	for _, d := range r.img.Digests {
		r.result.Untagged = append(r.result.Untagged, familiar(d))
	}
	if err := r.tx.DeleteImage(r.img.ID); err != nil {
		return err
	}
	r.result.Deleted = append(r.result.Deleted, r.img.ID)
	for _, l := range slices.Backward(r.img.Layers) {
		kept, err := r.tx.HasLayer(l.Key)
		if err != nil {
			return err
		}
		if !kept && !slices.Contains(r.result.Deleted, l.Key) {
			r.result.Deleted = append(r.result.Deleted, l.Key)
		}
	}
	return nil
}

// repositoryOf is a canonical reference without its tag and digest.
func repositoryOf(name string) string {
	n, err := Parse(name)
	if err != nil {
		return name
	}
	return n.Repository()
}

func familiar(name string) string {
	n, err := Parse(name)
	if err != nil {
		return name
	}
	return n.Familiar()
}

func short(container string) string { return container[:min(len(container), 12)] }
