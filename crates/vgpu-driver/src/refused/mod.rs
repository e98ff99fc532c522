//! Functions of the libraries that this stand-in has not: each says so and gives the library's code
//! for what is not supported. A function that is written leaves its list.

mod blas;
mod driver;
mod libraries;

use std::ffi::c_int;

use crate::fault;

/// Defines C functions that refuse with a code. The caller's arguments are not looked at: in the C
/// calling convention they are the caller's to clean up.
macro_rules! refuse {
    ($code:expr; $($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> std::ffi::c_int {
            super::refused(stringify!($name), $code)
        }
    )* };
}

use refuse;

fn refused(name: &str, code: c_int) -> c_int {
    fault::print(&format!("{name} is not part of the virtual GPU"));
    code
}
