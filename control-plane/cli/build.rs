//! The chart is part of the program: a change of it is one of the program.

fn main() {
    println!("cargo::rerun-if-changed=../../charts/weft");
}
