//! What the codes of a CONNACK, a SUBACK and a PUBACK mean: a code in, words for a technician out, and of a CONNACK
//! whether it may pass by itself.

use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, PubAckReason, SubscribeReasonCode};

/// What a refusal of CONNECT means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    /// In words of ours.
    pub(super) why: &'static str,
    /// Will be refused again until somebody changes something.
    pub(super) wants_human: bool,
}

impl Refusal {
    /// Will be refused again until somebody changes something.
    fn lasting(why: &'static str) -> Self {
        Self { why, wants_human: true }
    }

    /// May pass by itself.
    pub(super) fn passing(why: &'static str) -> Self {
        Self { why, wants_human: false }
    }
}

/// Why a subscription was not granted, if it was not: the reasons of MQTT 5.0, 3.9.3.
pub(crate) fn unsubscribed(code: SubscribeReasonCode) -> Option<&'static str> {
    use SubscribeReasonCode as C;
    match code {
        C::Success(_) => None,
        C::NotAuthorized => Some("0x87 not authorised"),
        C::TopicFilterInvalid => Some("0x8F topic filter invalid"),
        C::QuotaExceeded => Some("0x97 quota exceeded"),
        C::WildcardSubscriptionsNotSupported => Some("0xA2 no subscriptions with `+` or `#`"),
        C::ImplementationSpecific => Some("0x83 implementation specific error"),
        _ => Some("0x80 unspecified error"),
    }
}

/// Why a message was not taken, if it was not: the reasons of MQTT 5.0, 3.4.2.1.
pub(crate) fn unpublished(reason: PubAckReason) -> Option<&'static str> {
    use PubAckReason as R;
    match reason {
        R::Success | R::NoMatchingSubscribers => None,
        R::NotAuthorized => Some("0x87 not authorised"),
        R::QuotaExceeded => Some("0x97 quota exceeded"),
        R::TopicNameInvalid => Some("0x90 topic name invalid"),
        R::PayloadFormatInvalid => Some("0x99 payload format invalid"),
        _ => Some("0x80 unspecified error"),
    }
}

/// The return codes of MQTT 3.1.1, 3.2.2.3.
pub(super) fn v4(code: rumqttc::ConnectReturnCode) -> Refusal {
    use rumqttc::ConnectReturnCode as C;
    match code {
        C::RefusedProtocolVersion => Refusal::lasting(
            "it does not speak this version of MQTT; check `uplink.protocol` (code 1)",
        ),
        C::BadClientId => Refusal::lasting("it does not take `uplink.client_id` (code 2)"),
        C::BadUserNamePassword => {
            Refusal::lasting("check `uplink.username` and its password (code 4)")
        }
        C::NotAuthorized => Refusal::lasting(
            "we are not authorised; check `uplink.username`, its password and the broker's access \
             rules (code 5)",
        ),
        C::ServiceUnavailable | C::Success => Refusal::passing("it is not available (code 3)"),
    }
}

/// The reasons of MQTT 5.0, 3.2.2.2, and the codes of 3.1.1, which an old broker may answer with.
pub(super) fn v5(code: ConnectReturnCode) -> Refusal {
    use ConnectReturnCode as C;
    match code {
        C::RefusedProtocolVersion | C::UnsupportedProtocolVersion => Refusal::lasting(
            "it does not speak this version of MQTT; check `uplink.protocol` (0x84)",
        ),
        C::BadClientId | C::ClientIdentifierNotValid => {
            Refusal::lasting("it does not take `uplink.client_id` (0x85)")
        }
        C::BadUserNamePassword => {
            Refusal::lasting("check `uplink.username` and its password (0x86)")
        }
        C::NotAuthorized => Refusal::lasting(
            "we are not authorised; check `uplink.username`, its password and the broker's access \
             rules (0x87)",
        ),
        C::Banned => Refusal::lasting("we are banned (0x8A)"),
        C::BadAuthenticationMethod => {
            Refusal::lasting("it wants another way of authentication (0x8C)")
        }
        C::TopicNameInvalid => {
            Refusal::lasting("it does not take the topic of the last will (0x90)")
        }
        C::PacketTooLarge => Refusal::lasting("our CONNECT is too large for it (0x95)"),
        C::RetainNotSupported => Refusal::lasting("it keeps no retained messages (0x9A)"),
        C::QoSNotSupported => Refusal::lasting("it does not support QoS 1 (0x9B)"),
        C::ServerMoved | C::UseAnotherServer => {
            Refusal::lasting("it wants us at another server; check `uplink.broker` (0x9C, 0x9D)")
        }
        C::ServerBusy => Refusal::passing("it is busy (0x89)"),
        C::ServiceUnavailable | C::ServerUnavailable => {
            Refusal::passing("it is not available (0x88)")
        }
        C::QuotaExceeded => Refusal::passing("a quota is exhausted (0x97)"),
        C::ConnectionRateExceeded => Refusal::passing("we connect too often (0x9F)"),
        _ => Refusal::passing("for a reason of its own"),
    }
}
