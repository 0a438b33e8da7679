package livepatch

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"aead.dev/minisign"
)

// SignatureFile gives the name of the file with the signature of another, as
// minisign names it.
func SignatureFile(path string) string { return path + ".minisig" }

// maxSignature is more than a signature and its comments have.
const maxSignature = 64 << 10

// Verify checks the signature of the patch against a public key: the key itself
// or the name of a file that holds it, both as minisign has them.
func (p *Patch) Verify(pubkey string) error {
	key, err := publicKey(pubkey)
	if err != nil {
		return err
	}
	switch {
	case len(p.signature) == 0:
		return fmt.Errorf("verify patch %s: it is not signed: there is no .minisig file beside it", p.Name)
	case !minisign.Verify(key, p.file, p.signature):
		return fmt.Errorf("verify patch %s: its signature was not made with the key %X, or one of them has been changed since", p.Name, key.ID())
	}
	return nil
}

func publicKey(text string) (key minisign.PublicKey, err error) {
	if data, readErr := readFile(text, maxSignature); readErr == nil {
		text = string(data)
	} else if !errors.Is(readErr, os.ErrNotExist) || strings.ContainsAny(text, ".") {
		return key, fmt.Errorf("read public key: %w", readErr)
	}
	if err := key.UnmarshalText([]byte(strings.TrimSpace(text))); err != nil {
		return key, fmt.Errorf("read public key: it is neither a file nor a key of minisign: %w", err)
	}
	return key, nil
}

// ErrPassword is returned where a private key is encrypted and no password is
// known.
var ErrPassword = errors.New("the private key is protected by a password")

// Sign makes a signature of a patch with a private key as minisign has it. The
// patch is checked first. password is asked for if the key is encrypted.
func Sign(patch, privateKey string, password func() (string, error)) ([]byte, error) {
	p, err := Open(patch)
	if err != nil {
		return nil, err
	}
	data, err := readFile(privateKey, maxSignature)
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	key, err := decodeKey(data, password)
	if err != nil {
		return nil, fmt.Errorf("read private key %s: %w", privateKey, err)
	}
	comment := fmt.Sprintf("patch:%s target:%s", p.Name, p.Target.BuildID)
	return minisign.SignWithComments(key, p.file, comment, "signature of a nopal patch"), nil
}

func decodeKey(data []byte, password func() (string, error)) (key minisign.PrivateKey, err error) {
	if !minisign.IsEncrypted(data) {
		err = key.UnmarshalText(data)
		return key, err
	}
	if password == nil {
		return key, ErrPassword
	}
	word, err := password()
	if err != nil {
		return key, err
	}
	return minisign.DecryptKey(word, data)
}
