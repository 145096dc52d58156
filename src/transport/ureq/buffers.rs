//! Buffers that are small as long as that will do: there may be hundreds of connections.

use ::ureq::unversioned::transport::Buffers;

/// Enough for most heads, and for a small body with it.
const INPUT_AT_FIRST: usize = 8 << 10;

/// The input doubles, up to its limit, each time that it was filled at one go. The output is made when it is first needed.
#[derive(Debug)]
pub(super) struct GrowingBuffers {
    input: Vec<u8>,
    /// Where in the input what was not consumed yet begins and ends.
    start: usize,
    end: usize,
    was_filled: bool,
    largest_input: usize,
    output: Vec<u8>,
    output_size: usize,
    /// Whether what is left in the input can be gone on with: it was not, when nothing of it was consumed.
    is_usable: bool,
}

impl GrowingBuffers {
    pub(super) fn new(largest_input: usize, output_size: usize) -> Self {
        Self {
            input: Vec::new(),
            start: 0,
            end: 0,
            was_filled: false,
            largest_input: largest_input.max(1),
            output: Vec::new(),
            output_size: output_size.max(1),
            is_usable: false,
        }
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let is_full = self.end == self.input.len();
        if is_full || std::mem::take(&mut self.was_filled) {
            let larger = (2 * self.input.len()).max(INPUT_AT_FIRST);
            self.input.resize(larger.min(self.largest_input), 0);
        }
    }
}

impl Buffers for GrowingBuffers {
    fn output(&mut self) -> &mut [u8] {
        self.output.resize(self.output_size, 0);
        &mut self.output
    }

    fn input(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.make_room();
        self.input.get_mut(self.end..).unwrap_or_default()
    }

    fn input_appended(&mut self, amount: usize) {
        self.end = (self.end + amount).min(self.input.len());
        self.was_filled = self.end == self.input.len();
    }

    fn input_consume(&mut self, amount: usize) {
        self.is_usable = amount > 0;
        self.start = (self.start + amount).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.make_room();
        self.output.resize(self.output_size, 0);
        (
            self.input.get_mut(self.end..).unwrap_or_default(),
            &mut self.output,
        )
    }

    fn can_use_input(&self) -> bool {
        self.is_usable && self.start < self.end
    }
}
