//! Encrypted and signed frames that somebody published with their keys, and what they say.

use super::super::{Carrier, totality::advertisement};

/// One frame, its key and its sender, and what it says.
pub(super) struct Published {
    pub(super) source: &'static str,
    pub(super) carrier: Carrier,
    data: &'static str,
    key: &'static str,
    address: &'static str,
    pub(super) says: &'static str,
    pub(super) freshness: Option<u32>,
    /// Read without a key as well: it is only signed.
    pub(super) signed: bool,
}

pub(super) const BTHOME: Carrier = Carrier::Service(0xfcd2);
pub(super) const BTHOME_1: Carrier = Carrier::Service(0x181e);
const ENVIRONMENT: Carrier = Carrier::Service(0x181a);
pub(super) const MIBEACON: Carrier = Carrier::Service(0xfe95);
const ENOCEAN: Carrier = Carrier::Company(0x03da);

const BTHOME_KEY: &str = "231d39c1d7cc1ab1aee224cd096db932";
const ATC_KEY: &str = "b9ea895fac7eea6d30532432a516f3a3";

const fn published(
    source: &'static str,
    carrier: Carrier,
    [data, key, address]: [&'static str; 3],
    says: &'static str,
) -> Published {
    Published { source, carrier, data, key, address, says, freshness: None, signed: false }
}

pub(super) const PUBLISHED: &[Published] = &[
    Published {
        freshness: Some(0x3322_1100),
        ..published(
            "bthome.io/encryption",
            BTHOME,
            ["41a47266c95f730011223378237214", BTHOME_KEY, "5448e68f80a5"],
            "bthome -, temperature_c 25.06, humidity_percent 50.55",
        )
    },
    Published {
        freshness: Some(0x3322_1100),
        ..published(
            "bthome-ble, with the address in the frame",
            BTHOME,
            ["43a5808fe64854f196c06ffb4900112233f08ecbde", BTHOME_KEY, "5448e68f80a5"],
            "bthome -, temperature_c 25.06, humidity_percent 50.55",
        )
    },
    Published {
        freshness: Some(442),
        ..published(
            "bthome-ble, Shelly BLU Button1",
            BTHOME,
            ["450aeb84467f85ba0100003188788c", "90bffd73cb6b26ef58a7a8eba9232036", "b43522f53da4"],
            "bthome -, battery_percent 100, button 1",
        )
    },
    Published {
        freshness: Some(0x3322_1100),
        ..published(
            "bthome-ble, version 1",
            BTHOME_1,
            ["fba435e4d3c312fb0011223357d90a99", BTHOME_KEY, "5448e68f80a5"],
            "bthome_v1 -, temperature_c 25.06, humidity_percent 50.55",
        )
    },
    published(
        "ble_monitor, test_atc_parser.py",
        ENVIRONMENT,
        ["11d603fbfa7b6dfb1e26fd", ATC_KEY, "a4c1388d18b2"],
        "atc pvvx, temperature_c 23.45, humidity_percent 41.73, battery_percent 61, on 0, open 0",
    ),
    // Nobody published one: encrypted as custom_beacon.c of pvvx does, by another program.
    published(
        "made",
        ENVIRONMENT,
        ["129f974067356125", ATC_KEY, "a4c1388d18b2"],
        "atc atc1441, temperature_c 23.5, humidity_percent 42, battery_percent 61, on 1",
    ),
    Published {
        freshness: Some(0x2650),
        ..published(
            "xiaomi-ble, test_Xiaomi_LYWSD03MMC_encrypted",
            MIBEACON,
            [
                "58585b0550f4830238c1a495ef58763c26000097e2abb5",
                "e9ea895fac7cca6d30532432a516f3a8",
                "a4c1380283f4",
            ],
            "xiaomi LYWSD03MMC, humidity_percent 46",
        )
    },
    published(
        "xiaomi-ble, test_Xiaomi_CGDK2",
        MIBEACON,
        [
            "58586f0607892012342d585f176dd54f0200002fa453fa",
            "a3bfe9853dd85a620debe3620caaa351",
            "582d34122089",
        ],
        "xiaomi CGDK2, temperature_c 22.6",
    ),
    published(
        "xiaomi-ble, test_Xiaomi_LYWSD02MMC_v2_temperature, without the address",
        MIBEACON,
        [
            "4858422529202d8c7a76b756a82a0078b8224e",
            "19b1c678ab0a8bc3dc77765f059188d4",
            "a4c1380efd78",
        ],
        "xiaomi LYWSD02MMC, temperature_c 26.1",
    ),
    published(
        "xiaomi-ble, test_Xiaomi_JTYJGD03MI_smoke",
        MIBEACON,
        [
            "5859970966bc9ce344ef5401081205000000715ebe90",
            "5b51a7c91cde6707c9ef18dfda143a58",
            "54ef44e39cbc",
        ],
        "xiaomi JTYJGD03MI, smoke 1",
    ),
    published(
        "Home Assistant, test_event.py",
        MIBEACON,
        [
            "585949194f73128783eddc0b34380a0200008d49ae28",
            "b93eb3787eabda352edd94b667f5d5a9",
            "dced83871273",
        ],
        "xiaomi XMWXKG01YL, button 1",
    ),
    published(
        "xiaomi-ble, test_Xiaomi_YLKG07YL_press, version 3",
        MIBEACON,
        ["5830b603d28b98c54124f8c3491476757e00000099", "b853075158487ca39a5b5ea9", "f82441c5988b"],
        "xiaomi YLKG07YL/YLKG08YL, button 1",
    ),
    published(
        "Home Assistant, test_event.py, version 3",
        MIBEACON,
        ["5830b603368b98c54124f88bb8f2661351000000d6", "b853075158487ca39a5b5ea9", "f82441c5988b"],
        "xiaomi YLKG07YL/YLKG08YL, dimmer_steps -1",
    ),
    Published {
        freshness: Some(0x045d),
        signed: true,
        ..published(
            "EnOcean, PTM 215B user manual, C.3.1",
            ENOCEAN,
            ["5d04000011b2fa88ff", "3dda31ad44767ae3ce56dce2b3ce2abb", "e215000019b8"],
            "enocean PTM 215B, button 1",
        )
    },
    Published {
        freshness: Some(0x27fb),
        signed: true,
        ..published(
            "EnOcean, STM 550B user manual, A.1 with the key of A.2",
            ENOCEAN,
            [
                "fb2700000268458d0140420906578af791e65e23010f0157d3",
                "4db34db3070efc6713fe39e13cf3c939",
                "e50077010000",
            ],
            "enocean STM 550B, EMDCB, battery_percent 52, illuminance_lx 397, temperature_c 23.7, \
                 humidity_percent 43.5, acceleration_x_m_s2 -0.8825985, acceleration_y_m_s2 -9.022118, \
                 acceleration_z_m_s2 -1.765197, moving 0, open 1",
        )
    },
];

impl Published {
    pub(super) fn data(&self) -> Vec<u8> {
        hex::decode(self.data).unwrap()
    }

    pub(super) fn key(&self) -> Vec<u8> {
        hex::decode(self.key).unwrap()
    }

    pub(super) fn address(&self) -> [u8; 6] {
        hex::decode(self.address).unwrap().try_into().unwrap()
    }

    pub(super) fn advertised(&self, data: &[u8]) -> Vec<u8> {
        advertisement(self.carrier, "", data)
    }
}
