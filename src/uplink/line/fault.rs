//! Why a connection ended, in words for a technician.
//!
//! Nothing a peer sent is repeated here but numbers, and reasons in words of ours.

use std::{fmt, io, time::Duration};

use rumqttc::{
    mqttbytes,
    v5::mqttbytes::{self as mqttbytes5, v5::DisconnectReasonCode},
};
use thiserror::Error;

use super::refusal::{self, Refusal};

/// Why a connection was not made, or ended.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    /// No TCP connection.
    #[error(
        "the broker cannot be reached ({0}); check `uplink.broker`, the network and the firewall"
    )]
    Unreachable(io::Error),
    /// TCP worked, perhaps; MQTT did not answer.
    #[error("the broker did not complete the handshake within `uplink.connect_timeout`")]
    HandshakeTimeout,
    /// No agreement on TLS.
    #[error(
        "TLS with the broker failed ({0}); check `uplink.ca_file`, `uplink.certificate_file`, the \
         host name in `uplink.broker`, and that this machine's clock is right"
    )]
    Tls(String),
    /// No TCP connection to the proxy.
    #[error("the proxy cannot be reached ({0}); check `uplink.proxy`")]
    ProxyUnreachable(io::Error),
    /// The proxy opened no tunnel, and did not say why.
    #[error("the proxy did not answer within `uplink.connect_timeout`")]
    ProxySilent,
    /// The proxy said no.
    #[error("the proxy does not let us through: {}", ProxyReason(*.0))]
    ProxyRefused(u16),
    /// Something else is there.
    #[error("what listens at `uplink.proxy` does not answer like an HTTP proxy")]
    NoProxy,
    /// There is a web server, and it said no.
    #[error("the web server refused the WebSocket: {}", WebReason(*.0))]
    WebRefused(u16),
    /// There is something, and it is no WebSocket that carries MQTT.
    #[error("there is no WebSocket with MQTT at the address in `uplink.broker`: {0}")]
    NoWebSocket(&'static str),
    /// The broker answered our CONNECT with a refusal.
    #[error("the broker refused the connection: {}", .0.why)]
    Refused(Refusal),
    /// The broker lacks something we need.
    #[error("the broker does not support {0}, which the uplink needs")]
    Unsuitable(&'static str),
    /// MQTT 5 reason 0x8E.
    #[error(
        "another client took the session over by connecting with our client identifier; check \
         that no other gateway has the same tenant, store and gateway name"
    )]
    TakenOver,
    /// MQTT 5 reasons 0x9C and 0x9D; and which server it named, as it wrote it.
    #[error("the broker wants us at another server (0x9C, 0x9D); {}", Reference(.0.as_deref()))]
    Elsewhere(Option<String>),
    /// The broker said goodbye and why.
    #[error("the broker ended the connection: {}", Reason(*.0))]
    Dismissed(DisconnectReasonCode),
    /// The connection broke.
    #[error("the connection broke ({0})")]
    Cut(io::Error),
    /// The broker closed the connection without a word.
    #[error("the broker closed the connection")]
    Closed,
    /// No acknowledgement for too long.
    #[error("the broker left publishes unacknowledged for {0:?} or longer")]
    Unacknowledged(Duration),
    /// No answer to a ping.
    #[error("the broker no longer answers")]
    Silent,
    /// The broker refused a publish in a way that rumqttc cannot read.
    #[error("the broker refused a publish as too large")]
    PacketTooLarge,
    /// The broker sent something it must not.
    #[error("the broker broke the protocol ({0})")]
    Protocol(String),
    /// Our own mistake: more requests than the window allows.
    #[error("more was requested at once than the client takes")]
    Overfull,
}

/// What a fault says about where the next connection is to be tried, and when.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Lesson {
    /// Nothing but that it failed.
    Failed,
    /// The other side ended it, so perhaps everybody's.
    Ended,
    /// Another client has our name: whoever comes back soon only throws the other one out.
    TakenOver,
    /// This broker does not want us now; this is where it sends us, if it said so.
    Elsewhere(Option<String>),
}

impl Fault {
    /// Trying again will not help until somebody changes something.
    pub(crate) fn wants_human(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.wants_human,
            Self::ProxyRefused(status) | Self::WebRefused(status) => (400..500).contains(status),
            Self::Tls(_)
            | Self::Unsuitable(_)
            | Self::TakenOver
            | Self::NoProxy
            | Self::NoWebSocket(_)
            | Self::Elsewhere(_) => true,
            _ => false,
        }
    }

    /// What it says about where the next connection is to be tried, and when.
    pub(crate) fn lesson(&self) -> Lesson {
        use DisconnectReasonCode as R;
        match self {
            Self::TakenOver => Lesson::TakenOver,
            Self::Elsewhere(reference) => Lesson::Elsewhere(reference.clone()),
            // It goes on without us, or goes down.
            Self::Dismissed(R::ServerShuttingDown | R::ServerBusy) => Lesson::Elsewhere(None),
            Self::Dismissed(_) | Self::Closed => Lesson::Ended,
            Self::Cut(error) if error.kind() == io::ErrorKind::ConnectionReset => Lesson::Ended,
            _ => Lesson::Failed,
        }
    }

    /// What the broker has against the one publish it was sent before this, if it says so: it must
    /// not be sent again, or the connection would break for it forever.
    pub(in crate::uplink) fn blames_publish(&self) -> Option<&'static str> {
        match self {
            Self::PacketTooLarge | Self::Dismissed(DisconnectReasonCode::PacketTooLarge) => {
                Some("0x95 packet too large")
            }
            Self::Dismissed(DisconnectReasonCode::TopicNameInvalid) => {
                Some("0x90 topic name invalid")
            }
            Self::Dismissed(DisconnectReasonCode::PayloadFormatInvalid) => {
                Some("0x99 payload format invalid")
            }
            _ => None,
        }
    }

    /// What it has against that publish is its size.
    pub(in crate::uplink) fn is_about_size(&self) -> bool {
        matches!(self, Self::PacketTooLarge | Self::Dismissed(DisconnectReasonCode::PacketTooLarge))
    }

    /// The broker does not know a number that it granted for a topic.
    pub(in crate::uplink) fn blames_alias(&self) -> bool {
        matches!(self, Self::Dismissed(DisconnectReasonCode::TopicAliasInvalid))
    }

    /// Adds which server the broker named as it said goodbye.
    pub(super) fn with_reference(self, reference: Option<String>) -> Self {
        use DisconnectReasonCode as R;
        match self {
            Self::Dismissed(R::UseAnotherServer | R::ServerMoved) => Self::Elsewhere(reference),
            other => other,
        }
    }

    /// An error of the socket, or of TLS inside it.
    pub(super) fn from_io(error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(tls) => Self::Tls(tls.to_string()),
            None => Self::Cut(error),
        }
    }

    fn from_tls(error: rumqttc::TlsError) -> Self {
        match error {
            rumqttc::TlsError::Io(error) => Self::from_io(error),
            error => Self::Tls(error.to_string()),
        }
    }
}

impl From<rumqttc::ConnectionError> for Fault {
    fn from(error: rumqttc::ConnectionError) -> Self {
        use rumqttc::ConnectionError as E;
        match error {
            E::Io(error) => Self::Unreachable(error),
            E::NetworkTimeout => Self::HandshakeTimeout,
            E::FlushTimeout => Self::Silent,
            E::Tls(error) => Self::from_tls(error),
            E::ConnectionRefused(code) => Self::Refused(refusal::v4(code)),
            E::NotConnAck(_) => Self::Protocol("no CONNACK".to_owned()),
            E::RequestsDone => Self::Overfull,
            E::MqttState(error) => error.into(),
        }
    }
}

impl From<rumqttc::StateError> for Fault {
    fn from(error: rumqttc::StateError) -> Self {
        use rumqttc::StateError as E;
        match error {
            E::Io(error) | E::Deserialization(mqttbytes::Error::Io(error)) => Self::from_io(error),
            E::ConnectionAborted => Self::Closed,
            E::AwaitPingResp | E::CollisionTimeout => Self::Silent,
            E::Unsolicited(_) => unsolicited(),
            error => Self::Protocol(error.to_string()),
        }
    }
}

impl From<rumqttc::v5::ConnectionError> for Fault {
    fn from(error: rumqttc::v5::ConnectionError) -> Self {
        use rumqttc::v5::{ConnectionError as E, mqttbytes::v5::ConnectReturnCode as C};
        match error {
            E::Io(error) => Self::Unreachable(error),
            E::Timeout(_) => Self::HandshakeTimeout,
            E::Tls(error) => Self::from_tls(error),
            // rumqttc does not hand on which server a CONNACK names.
            E::ConnectionRefused(C::UseAnotherServer | C::ServerMoved) => Self::Elsewhere(None),
            E::ConnectionRefused(code) => Self::Refused(refusal::v5(code)),
            E::NotConnAck(_) => Self::Protocol("no CONNACK".to_owned()),
            E::RequestsDone => Self::Overfull,
            E::MqttState(error) => error.into(),
        }
    }
}

impl From<rumqttc::v5::StateError> for Fault {
    fn from(error: rumqttc::v5::StateError) -> Self {
        use rumqttc::v5::StateError as E;
        match error {
            E::Io(error) | E::Deserialization(mqttbytes5::Error::Io(error)) => Self::from_io(error),
            E::ConnectionAborted => Self::Closed,
            E::AwaitPingResp | E::CollisionTimeout => Self::Silent,
            E::Unsolicited(_) => unsolicited(),
            E::ServerDisconnect { reason_code: DisconnectReasonCode::SessionTakenOver, .. } => {
                Self::TakenOver
            }
            E::ServerDisconnect { reason_code, .. } => Self::Dismissed(reason_code),
            // A PUBACK with a reason that the specification does not list for it, and that
            // mosquitto sends for a payload above its `message_size_limit`. rumqttc reports it
            // under this misleading name.
            E::Deserialization(mqttbytes5::Error::InvalidConnectReturnCode(0x95)) => {
                Self::PacketTooLarge
            }
            error => Self::Protocol(error.to_string()),
        }
    }
}

fn unsolicited() -> Fault {
    Fault::Protocol("it acknowledged what was not sent".to_owned())
}

/// A reason of DISCONNECT, in words and as the number of MQTT 5.0, 3.14.2.1.
struct Reason(DisconnectReasonCode);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use DisconnectReasonCode as R;
        let words = match self.0 {
            R::ServerBusy => "it is busy",
            R::ServerShuttingDown => "it is shutting down",
            R::KeepAliveTimeout => "it heard nothing from us",
            R::NotAuthorized => "we are not authorised; check the broker's access rules",
            R::TopicAliasInvalid => "it does not know a topic by the number it granted",
            R::PacketTooLarge => "a packet was too large",
            R::TopicNameInvalid => "it does not take a topic of ours",
            R::ReceiveMaximumExceeded => "too much was in flight",
            R::MessageRateTooHigh => "we send too fast",
            R::QuotaExceeded => "a quota is exhausted",
            R::AdministrativeAction => "an administrator ended it",
            R::ConnectionRateExceeded => "we connect too often",
            R::MaximumConnectTime => "the longest time for a connection is over",
            R::UseAnotherServer | R::ServerMoved => "it wants us at another server",
            R::RetainNotSupported => "it keeps no retained messages",
            R::QoSNotSupported => "it does not support QoS 1",
            _ => "for a reason of its own",
        };
        write!(f, "{words} (0x{:02X})", self.0 as u8)
    }
}

/// What a proxy means, by the status of RFC 9110, 15.
struct ProxyReason(u16);

impl fmt::Display for ProxyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.0 {
            407 => {
                "it wants a user name and a password, or others; check `uplink.proxy_username` and \
                 `uplink.proxy_password_file`"
            }
            403 | 405 => "it allows no tunnel to the broker; ask whoever runs it to",
            502..=504 => "it cannot reach the broker",
            400..=499 => "it does not like our request",
            _ => "for a reason of its own",
        };
        write!(f, "{words} ({})", self.0)
    }
}

/// What a web server means, by the status of RFC 9110, 15.
struct WebReason(u16);

impl fmt::Display for WebReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.0 {
            404 | 400 | 426 => "check the path in `uplink.broker`",
            401 | 403 => "it lets us in only with credentials of its own, or not at all",
            300..=399 => "it moved; put its new address into `uplink.broker`",
            500..=599 => "the broker behind it does not work",
            _ => "for a reason of its own",
        };
        write!(f, "{words} ({})", self.0)
    }
}

/// What is to be done about a server that a broker named. Its name is not repeated: it is not ours.
struct Reference<'a>(Option<&'a str>);

impl fmt::Display for Reference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => {
                "it is tried there if that is in `uplink.fallback_brokers`, else at the next one \
                 in the list"
            }
            None => "it named none, so the next one in the list is tried",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tls_error_inside_a_socket_error_is_recognised() {
        let inner = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = io::Error::new(io::ErrorKind::InvalidData, inner);
        let fault = Fault::from_tls(rumqttc::TlsError::Io(error));
        assert!(matches!(&fault, Fault::Tls(why) if why.contains("UnknownIssuer")), "{fault}");
        assert!(fault.wants_human());
        let cut = Fault::from_io(io::ErrorKind::ConnectionReset.into());
        assert!(matches!(cut, Fault::Cut(_)) && !cut.wants_human());
    }

    #[test]
    fn a_fault_teaches_where_and_when_to_try_next() {
        use DisconnectReasonCode as R;
        let reset = || Fault::Cut(io::ErrorKind::ConnectionReset.into());
        for (fault, lesson) in [
            (Fault::TakenOver, Lesson::TakenOver),
            (Fault::Elsewhere(Some("b".into())), Lesson::Elsewhere(Some("b".into()))),
            (Fault::Dismissed(R::ServerShuttingDown), Lesson::Elsewhere(None)),
            (Fault::Dismissed(R::AdministrativeAction), Lesson::Ended),
            (Fault::Closed, Lesson::Ended),
            (reset(), Lesson::Ended),
            (Fault::Cut(io::ErrorKind::TimedOut.into()), Lesson::Failed),
            (Fault::Silent, Lesson::Failed),
        ] {
            assert_eq!(fault.lesson(), lesson, "{fault}");
        }
    }

    #[test]
    fn what_a_proxy_or_a_web_server_says_is_told_with_what_to_do() {
        let told = |fault: Fault| (fault.to_string(), fault.wants_human());
        let (why, human) = told(Fault::ProxyRefused(407));
        assert!(why.contains("uplink.proxy_username") && why.contains("(407)") && human, "{why}");
        let (why, human) = told(Fault::ProxyRefused(502));
        assert!(why.contains("cannot reach the broker (502)") && !human, "{why}");
        let (why, human) = told(Fault::WebRefused(404));
        assert!(why.contains("check the path") && human, "{why}");
        let (why, _) = told(Fault::Elsewhere(Some("secret.example.org".into())));
        assert!(!why.contains("secret"), "{why}");
    }

    #[test]
    fn only_a_reason_about_the_publish_itself_blames_it() {
        use DisconnectReasonCode as R;
        for (fault, blames) in [
            (Fault::PacketTooLarge, true),
            (Fault::Dismissed(R::PacketTooLarge), true),
            (Fault::Dismissed(R::PayloadFormatInvalid), true),
            (Fault::Dismissed(R::TopicNameInvalid), true),
            (Fault::Dismissed(R::NotAuthorized), false),
            (Fault::Dismissed(R::QuotaExceeded), false),
            (Fault::Closed, false),
        ] {
            assert_eq!(fault.blames_publish().is_some(), blames, "{fault}");
        }
    }

    #[test]
    fn a_dismissal_is_told_in_words_and_with_its_number() {
        let told = Fault::Dismissed(DisconnectReasonCode::ServerBusy).to_string();
        assert_eq!(told, "the broker ended the connection: it is busy (0x89)");
    }
}
