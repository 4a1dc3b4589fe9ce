//! Tests of the JSON of values.

use serde_json::json;

use super::*;

#[test]
fn entry_has_the_form_of_the_existing_service() {
    let version = ValueVersion {
        bytes: "{}".into(),
        codec: "json".parse().unwrap(),
        value_type: ValueType::Custom,
        version: 3,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        expires_at: None,
    };
    let [namespace, key] = ["prod", "app"];
    let body = |version: &ValueVersion, reveal| {
        EntryBody::new(
            namespace.parse().unwrap(),
            key.parse().unwrap(),
            version,
            reveal,
        )
    };
    let shown = body(&version, false);
    let expected = json!({
        "namespace": "prod", "key": "app", "value": "e30=", "codec": "json", "type": 11, "version": "3",
        "createdAt": "1970-01-01T00:00:00Z", "updatedAt": "1970-01-01T00:00:00Z",
    });
    assert_eq!(serde_json::to_value(&shown).unwrap(), expected);
    assert_eq!(
        serde_json::from_value::<EntryBody>(expected).unwrap(),
        shown
    );
    let secret = ValueVersion {
        value_type: ValueType::Secret,
        ..version
    };
    let hidden = serde_json::to_value(body(&secret, false)).unwrap();
    assert_eq!(
        (&hidden["value"], &hidden["hidden"]),
        (&json!(""), &json!(true))
    );
    let shown = serde_json::to_value(body(&secret, true)).unwrap();
    assert_eq!(
        (&shown["value"], shown.get("hidden")),
        (&json!("e30="), None)
    );
}

#[test]
fn write_mode_has_three_forms_and_names_two_cases() {
    for (written, mode) in [
        (json!({}), WriteMode::Upsert),
        (json!({ "writeMode": 0 }), WriteMode::Upsert),
        (json!({ "writeMode": null }), WriteMode::Upsert),
        (json!({ "write_mode": 2 }), WriteMode::Create),
        (
            json!({ "writeMode": "WRITE_MODE_UPDATE" }),
            WriteMode::Update,
        ),
        (json!({ "writeMode": "CREATE" }), WriteMode::Create),
        (
            json!({ "write_mode": "WRITE_MODE_UNSPECIFIED" }),
            WriteMode::Upsert,
        ),
    ] {
        let read = read_set(written.to_string().as_bytes()).unwrap();
        assert_eq!(read.mode, mode, "{written}");
    }
    for wrong in [
        json!(4),
        json!("create?"),
        json!(true),
        json!(1.5),
        json!([]),
    ] {
        let wrong = json!({ "writeMode": wrong });
        let error = read_set(wrong.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains("expected UPSERT"), "{error}");
    }
}

#[test]
fn set_body_is_read_as_it_was_written() {
    for body in [
        SetBody::default(),
        SetBody {
            bytes: b"\xff"[..].into(),
            codec: Some("client:x".parse().unwrap()),
            mode: WriteMode::Create,
            secret: true,
            ttl_seconds: Some(60),
        },
    ] {
        let json = body.to_json().to_string();
        assert_eq!(read_set(json.as_bytes()), Ok(body));
    }
}

#[test]
fn bytes_are_accepted_in_all_forms_of_base64() {
    for text in ["++8=", "++8", "--8=", "--8"] {
        let read = read_set(json!({ "value": text }).to_string().as_bytes()).unwrap();
        assert_eq!(&read.bytes[..], b"\xfb\xef", "{text}");
    }
    assert!(read_set(br#"{"value": "*"}"#).is_err());
    assert!(read_set(br#"{"codec": "a b"}"#).is_err());
}

#[test]
fn cursors_are_opaque_names() {
    let cursor = cursor_after("app/x");
    assert_eq!(read_cursor(&cursor).as_deref(), Some("app/x"));
    assert_eq!(read_cursor("not a cursor"), None);
}
