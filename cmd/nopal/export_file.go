package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
)

// partialFile is a file that does not have its name yet. A signal that ends nopal removes it.
type partialFile struct {
	*os.File
	path    string // that it will have
	signals chan os.Signal
}

func createPartial(path string) (*partialFile, error) {
	owner := callerOfSudo()
	// Where the name is a link, the file that it leads to is replaced; but root is not led by somebody else's links.
	if real, err := filepath.EvalSymlinks(path); err == nil && owner == nil {
		path = real
	}
	name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+strconv.Itoa(os.Getpid())+".partial")
	// O_EXCL follows no link either.
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, fmt.Errorf("create output: %w", err)
	}
	p := &partialFile{File: file, path: path, signals: make(chan os.Signal, 1)}
	catch(p.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	go func() {
		if s, ok := <-p.signals; ok {
			_ = os.Remove(name)
			dieBySignal(s.(syscall.Signal))
		}
	}()
	if owner != nil {
		if err := file.Chown(owner.UID, owner.GID); err != nil {
			p.discard()
			return nil, fmt.Errorf("give output to its owner: %w", err)
		}
	}
	return p, nil
}

// settle ends the watch for signals.
func (p *partialFile) settle() {
	signal.Stop(p.signals)
	close(p.signals)
}

// discard removes the file. What it holds is of no use, so errors are of no interest.
func (p *partialFile) discard() {
	_ = p.Close()
	_ = os.Remove(p.Name())
	p.settle()
}

// commit gives the file its name.
func (p *partialFile) commit() error {
	defer p.settle()
	err := p.Close()
	if err == nil {
		err = os.Rename(p.Name(), p.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write output: %w", err), os.Remove(p.Name()))
	}
	return nil
}
