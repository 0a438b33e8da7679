// As signatures.c, for Rust. No test needs its compiler: rust.s is what rustc 1.95
// makes of this with RUSTC_BOOTSTRAP=1 and
// -g -C opt-level=0 -C panic=abort -Z patchable-function-entry=2 --target aarch64-unknown-linux-gnu --emit=asm
#![feature(no_core, lang_items, intrinsics, rustc_attrs, auto_traits)]
#![no_core]
#![crate_type = "lib"]
#![allow(internal_features, unused)]
#[lang = "pointee_sized"] pub trait PointeeSized {}
#[lang = "meta_sized"] pub trait MetaSized: PointeeSized {}
#[lang = "sized"] pub trait Sized: MetaSized {}
#[lang = "copy"] pub trait Copy {}
#[lang = "freeze"] pub unsafe auto trait Freeze {}
#[lang = "legacy_receiver"] pub trait LegacyReceiver {}
impl<T: PointeeSized> LegacyReceiver for &T {}
impl Copy for u32 {} impl Copy for u64 {} impl Copy for usize {} impl Copy for f64 {} impl<T> Copy for *const T {} impl<'a, T: PointeeSized> Copy for &'a T {}
pub enum Option<T> { None, Some(T) }
pub enum Mode { Read = 1, Write = 2 }
pub struct Unique { pointer: *const u8 }
pub struct RawVecInner { ptr: Unique, cap: usize }
pub struct RawVec { inner: RawVecInner }
pub struct Vec { buf: RawVec, len: usize }
pub struct String { vec: Vec }
pub struct Meters(f64);
pub struct Pair { a: u32, b: f64 }
pub struct Triple { a: u32, b: u32, c: u32 }

//= greet(struct16 x0+x1, struct24 *x2, pointer8 struct x3, struct16 x4+x5, uint8 x6) uint8 x0
#[inline(never)] pub fn greet(s: &str, t: String, u: &String, v: &[u8], n: u64) -> u64 { n }
//= name(struct16 x0+x1) struct16 x0+x1
#[inline(never)] pub fn name(s: &str) -> &str { s }
//= numbers(uint1 x0, int2 x1, bool1 x2, uint4 x3, float4 v0, struct8 v1, enum1 x4, struct16 v2+x5) struct8 v0
#[inline(never)] pub fn numbers(a: u8, b: i16, c: bool, d: char, e: f32, f: Meters, g: Mode, h: Pair) -> Meters { f }
//= doubtful(uint4 x0, opaque8 ?, struct12 ?, uint4 x4) opaque8 ?
#[inline(never)] pub fn doubtful(a: u32, o: Option<u32>, t: Triple, last: u32) -> Option<u32> { o }
//= whole(pointer8 struct x0, uint8 x1) struct24 *x8
#[inline(never)] pub fn whole(s: &String, v: u64) -> String { loop {} }
//= split(uint8 x0, uint8 x1, uint8 x2, uint8 x3, uint8 x4, uint8 x5, uint8 x6, struct16 x7+s0, uint8 s8) uint8 x0
#[inline(never)] pub fn split(a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, g: u64, s: &str, z: u64) -> u64 { z }
//= pass(struct24 *x0, struct16 x1+x2) struct24 *x8
#[inline(never)] pub fn pass(s: String, t: &str) -> String { s }
