package entry

// PatchLoader is what a thread that loads or unloads an object shares with a nopal that
// waits for the objects of its patches. It is wiped by fork: nobody waits for children.
type PatchLoader struct {
	Live      uint64 // a nopal is there, or was when it was last needed
	WaitTicks uint64 // how long a thread waits for it
	Request   uint64 // the last ticket that a thread has drawn
	Ack       uint64 // the last one that nopal has answered
}

// Offsets of what nopal reads and writes in a PatchLoader.
const (
	PatchLoaderLive      = 0
	PatchLoaderWaitTicks = 8
	PatchLoaderRequest   = 16
	PatchLoaderAck       = 24
)

// LoadedStack is how much that code pushes.
const LoadedStack = 48

// LoadedBlob is the code that is called in place of the loader's debugger hook.
type LoadedBlob struct {
	Code   []byte
	On     uint64 // offset of the instruction that is to be a branch to the hook itself
	Loader uint64 // offset of the word that is to be the address of the PatchLoader
}
