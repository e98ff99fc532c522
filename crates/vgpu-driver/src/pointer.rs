//! Pointers that C callers pass. All reads and writes through them are here.

use std::{
    ffi::{CStr, c_char, c_void},
    ptr,
};

use crate::status::{Result, Status};

/// Where the caller wants a result; the C API calls a null pointer an invalid value.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    pub(crate) fn set(self, value: T) -> Result<()> {
        if self.0.is_null() {
            return Err(Status::InvalidValue);
        }
        // SAFETY: the caller of the C function passes null or a place for a `T` to be written.
        unsafe { self.0.write(value) };
        Ok(())
    }

    /// As [`set`](Self::set), for results that the caller may decline by passing null.
    pub(crate) fn set_if_wanted(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: as in `set`.
            unsafe { self.0.write(value) };
        }
    }

    /// Writes element `index` of an array whose length the caller gave.
    pub(crate) fn set_at(self, index: usize, value: T) -> Result<()> {
        if self.0.is_null() {
            return Err(Status::InvalidValue);
        }
        // SAFETY: the caller's array has more than `index` elements, by the length it passed.
        unsafe { self.0.add(index).write(value) };
        Ok(())
    }

    /// The same place, for arguments that are read before they are written.
    pub(crate) fn input(self) -> In<T> {
        In(self.0)
    }

    pub(crate) fn cast<U>(self) -> Out<U> {
        Out(self.0.cast())
    }
}

impl<T: Copy> Out<T> {
    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }
}

impl Out<c_char> {
    /// Writes text with its terminating zero, cut to `room` bytes.
    pub(crate) fn set_text(self, text: &CStr, room: usize) -> Result<()> {
        if self.0.is_null() || room == 0 {
            return Err(Status::InvalidValue);
        }
        let bytes = text.to_bytes();
        let length = bytes.len().min(room - 1);
        // SAFETY: the caller has `room` bytes there, of which at most all are written.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.cast(), length);
            self.0.add(length).write(0);
        }
        Ok(())
    }
}

/// A value that the caller passes by address.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct In<T>(*const T);

impl<T: Copy> In<T> {
    pub(crate) const NULL: Self = Self(ptr::null());

    /// A place of ours that a C program will read.
    pub(crate) fn from_address(address: usize) -> Self {
        Self(ptr::with_exposed_provenance(address))
    }

    pub(crate) fn get(self) -> Result<T> {
        if self.0.is_null() {
            return Err(Status::InvalidValue);
        }
        // SAFETY: the caller passes null or the address of a `T`; C does not promise alignment of
        // what comes in untyped buffers.
        Ok(unsafe { self.0.read_unaligned() })
    }

    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    pub(crate) fn address(self) -> usize {
        self.0.addr()
    }

    pub(crate) fn cast<U>(self) -> In<U> {
        In(self.0.cast())
    }

    /// Element `index` of an array whose length the caller gave.
    pub(crate) fn at(self, index: usize) -> Result<T> {
        if self.0.is_null() {
            return Err(Status::InvalidValue);
        }
        // SAFETY: the caller's array has more than `index` elements, by the length it passed.
        Ok(unsafe { self.0.add(index).read_unaligned() })
    }
}

impl In<c_char> {
    /// The bytes of a C string without its zero.
    pub(crate) fn bytes<'a>(self) -> Result<&'a [u8]> {
        if self.0.is_null() {
            return Err(Status::InvalidValue);
        }
        // SAFETY: the caller passes a zero-terminated string that lives as long as the call.
        Ok(unsafe { CStr::from_ptr(self.0) }.to_bytes())
    }

    pub(crate) fn text<'a>(self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Status::InvalidValue)
    }
}

/// Memory of the host that copies read or write at a later time, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct HostMemory(*mut c_void);

// SAFETY: the address is only used by copies, one at a time, while the caller keeps it valid.
unsafe impl Send for HostMemory {}
// SAFETY: as above; nothing is read or written through a shared reference but by such copies.
unsafe impl Sync for HostMemory {}

impl HostMemory {
    /// Memory whose address came as a number.
    pub(crate) fn at(address: u64) -> Self {
        Self(ptr::with_exposed_provenance_mut(address as usize))
    }

    pub(crate) fn address(self) -> u64 {
        self.0.addr() as u64
    }

    /// What is there now.
    pub(crate) fn snapshot(self, bytes: usize) -> Result<Vec<u8>> {
        let mut copy = vec![0; bytes];
        self.read(&mut copy)?;
        Ok(copy)
    }

    pub(crate) fn read(self, to: &mut [u8]) -> Result<()> {
        if to.is_empty() {
            return Ok(());
        }
        if self.0.is_null() {
            return Err(Status::InvalidValue);
        }
        // SAFETY: the caller of the copy passed memory of this size and keeps it until the copy is
        // done; a `Vec` of ours cannot overlap it.
        unsafe { ptr::copy_nonoverlapping(self.0.cast::<u8>(), to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    pub(crate) fn write(self, from: &[u8]) -> Result<()> {
        if from.is_empty() {
            return Ok(());
        }
        if self.0.is_null() {
            return Err(Status::InvalidValue);
        }
        // SAFETY: as in `read`.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.0.cast::<u8>(), from.len()) };
        Ok(())
    }
}

/// A function of the host that a stream calls (`CUhostFn`), with its argument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostFunction {
    function: extern "C" fn(*mut c_void),
    argument: *mut c_void,
}

// SAFETY: the caller of `cuLaunchHostFunc` agrees that a thread of the driver makes the call.
unsafe impl Send for HostFunction {}
// SAFETY: as above; the argument is only handed to the function.
unsafe impl Sync for HostFunction {}

impl HostFunction {
    pub(crate) fn new(
        function: Option<extern "C" fn(*mut c_void)>,
        argument: *mut c_void,
    ) -> Result<Self> {
        let function = function.ok_or(Status::InvalidValue)?;
        Ok(Self { function, argument })
    }

    pub(crate) fn call(self) {
        (self.function)(self.argument);
    }

    pub(crate) fn parts(self) -> (extern "C" fn(*mut c_void), *mut c_void) {
        (self.function, self.argument)
    }
}
