//! What kind of controller it is.

/// A kind of controller, and its address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Model {
    /// Its public address, most significant octet first.
    pub(crate) address: [u8; 6],
    /// LE Extended Advertising: long advertisements, and its own scan commands.
    pub(crate) extended: bool,
    /// The coded PHY, which needs `extended`.
    pub(crate) coded: bool,
    /// BR/EDR beside LE, as in every Raspberry Pi.
    pub(crate) dual: bool,
}

impl Model {
    /// LE of version 4 and nothing else. Each has another last octet.
    pub(crate) const fn plain(last: u8) -> Self {
        let address = [0x00, 0xaa, 0x01, 0x00, 0x00, last];
        Self { address, extended: false, coded: false, dual: false }
    }

    /// LE of version 5 with everything that concerns advertising.
    pub(crate) const fn long_range(last: u8) -> Self {
        Self { extended: true, coded: true, ..Self::plain(last) }
    }

    /// LE and BR/EDR.
    pub(crate) const fn dual(last: u8) -> Self {
        Self { dual: true, ..Self::plain(last) }
    }

    /// The address as people write it.
    pub(crate) fn written(&self) -> String {
        self.address.map(|octet| format!("{octet:02X}")).join(":")
    }
}

impl Default for Model {
    fn default() -> Self {
        Self::plain(0x42)
    }
}
