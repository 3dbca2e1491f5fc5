package registry

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/google/go-containerregistry/pkg/authn"
)

// maxAuthFile is how many bytes the file with the credentials may have.
const maxAuthFile = 1 << 20

// credentials finds what to show to the endpoint: what Docker's file has for
// this very host. A mirror never gets what is meant for the registry.
func credentials(cfg Config, e endpoint) (authn.Authenticator, error) {
	file, err := readAuthFile(cfg.AuthFile)
	if err != nil {
		return nil, err
	}
	key := e.host
	if key == hubHost {
		key = hubDomain
	}
	if err := checkHelpers(file, key); err != nil {
		return nil, err
	}
	auth, err := file.GetAuthConfig(key)
	if err != nil {
		return nil, fmt.Errorf("credentials of registry %s: %s", e.host, word(err.Error()))
	}
	found := authn.AuthConfig{
		Username:      auth.Username,
		Password:      auth.Password,
		Auth:          auth.Auth,
		IdentityToken: auth.IdentityToken,
		RegistryToken: auth.RegistryToken,
	}
	if found == (authn.AuthConfig{}) {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(found), nil
}

func readAuthFile(path string) (*configfile.ConfigFile, error) {
	named := path != ""
	if !named {
		dir := os.Getenv("DOCKER_CONFIG")
		if dir == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return configfile.New(""), nil
			}
			dir = filepath.Join(home, ".docker")
		}
		path = filepath.Join(dir, config.ConfigFileName)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return configfile.New(""), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxAuthFile+1))
	if err == nil && len(data) > maxAuthFile {
		err = fmt.Errorf("more than %d bytes", maxAuthFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read credentials %s: %w", path, err)
	}
	file, err := config.LoadFromReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read credentials %s: %s", path, word(err.Error()))
	}
	return file, nil
}

// checkHelpers refuses a credential helper whose name is a path: the library
// would execute docker-credential-NAME with whatever NAME is.
func checkHelpers(file *configfile.ConfigFile, key string) error {
	if key == hubDomain {
		key = "https://index.docker.io/v1/"
	}
	helper, ok := file.CredentialHelpers[key]
	if !ok {
		helper = file.CredentialsStore
	}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	if strings.Trim(helper, letters) != "" {
		return fmt.Errorf("credential helper %q: not a name of lower-case letters, digits and hyphens", word(helper))
	}
	return nil
}

// certificates are the authorities that may sign the certificate of host: the
// system's and those in dir/host/*.crt. Nil stands for the system's alone.
func certificates(dir, host string) (*x509.CertPool, error) {
	dir = filepath.Join(dir, filepath.Base(host))
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's certificates: %w", err)
	}
	for _, entry := range files {
		if filepath.Ext(entry.Name()) != ".crt" {
			continue
		}
		file := filepath.Join(dir, entry.Name())
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read certificate %s: no certificate in it", file)
		}
	}
	return pool, nil
}
