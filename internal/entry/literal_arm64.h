// LOAD_LITERAL(offset, reg) loads the word of Literals at that offset into general
// register number reg. It assembles to LDR (literal) (Arm ARM C6.2) with the offset
// where the distance to the word belongs, which Load puts in when it has laid out
// the blocks: Go's assembler has no name for a literal in another block.
#define LOAD_LITERAL(offset, reg) WORD $(0x58000000 + (offset)*4 + reg)
