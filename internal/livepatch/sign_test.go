package livepatch

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"
)

// keys makes a pair of keys and the files that minisign would.
func keys(t *testing.T) (public minisign.PublicKey, publicFile, privateFile string) {
	t.Helper()
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := private.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	text, err := public.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	publicFile, privateFile = filepath.Join(dir, "key.pub"), filepath.Join(dir, "key")
	if err := errors.Join(os.WriteFile(publicFile, text, 0o600), os.WriteFile(privateFile, secret, 0o600)); err != nil {
		t.Fatal(err)
	}
	return public, publicFile, privateFile
}

func TestSignatures(t *testing.T) {
	public, publicFile, privateFile := keys(t)
	data, err := small().Encode()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "fix.npz")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	verify := func(key string) error {
		t.Helper()
		p, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return p.Verify(key)
	}
	if err := verify(publicFile); err == nil || !strings.Contains(err.Error(), "it is not signed") {
		t.Errorf("without a signature: %v", err)
	}
	signature, err := Sign(path, privateFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(SignatureFile(path), signature, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{publicFile, public.String()} {
		if err := verify(key); err != nil {
			t.Errorf("with key %s: %v", key, err)
		}
	}
	_, otherFile, _ := keys(t)
	if err := verify(otherFile); err == nil {
		t.Error("another's key is accepted")
	}
	for _, key := range []string{"", "nonsense", filepath.Join(t.TempDir(), "none.pub"), path} {
		if err := verify(key); err == nil || !strings.Contains(err.Error(), "read public key") {
			t.Errorf("key %q: %v, want that it is none", key, err)
		}
	}
	// Another patch, although it is whole.
	changed := small()
	changed.funcs[0].OldSize += 4
	if data, err = changed.Encode(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verify(publicFile); err == nil {
		t.Error("the signature of another patch is accepted")
	}
}

func TestEncryptedKeys(t *testing.T) {
	_, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := minisign.EncryptKey("word", private)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeKey(secret, nil); !errors.Is(err, ErrPassword) {
		t.Errorf("without a password: %v", err)
	}
	for word, right := range map[string]bool{"word": true, "other": false} {
		key, err := decodeKey(secret, func() (string, error) { return word, nil })
		if (err == nil) != right || right && !key.Equal(private) {
			t.Errorf("password %q: %v", word, err)
		}
	}
}
