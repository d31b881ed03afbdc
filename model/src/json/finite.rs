//! Is every number of a value one that JSON can write? `serde_json` writes `null` for those that are infinite or none at all.
//!
//! A serializer that writes nothing: it goes through a value a second time, and only where a `null` was written.

use serde::Serialize;
use serde::ser::{
    Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::Error;

/// Fails for a value that has a number which is infinite or none.
pub(super) fn check<T: Serialize + ?Sized>(value: &T) -> Result<(), Error> {
    value.serialize(Finite)
}

#[derive(Debug, Clone, Copy)]
struct Finite;

impl Finite {
    fn number(number: f64) -> Result<(), Error> {
        if number.is_finite() {
            Ok(())
        } else {
            Err(Error::custom(format_args!("{number} is a number that JSON cannot write")))
        }
    }
}

macro_rules! harmless {
    ($($name:ident($($of:ty),*);)*) => {
        $(
            fn $name(self, $(_: $of),*) -> Result<(), Error> {
                Ok(())
            }
        )*
    };
}

macro_rules! open {
    ($($name:ident($($of:ty),*);)*) => {
        $(
            fn $name(self, $(_: $of),*) -> Result<Self, Error> {
                Ok(self)
            }
        )*
    };
}

impl Serializer for Finite {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn serialize_f32(self, number: f32) -> Result<(), Error> {
        Self::number(number.into())
    }

    fn serialize_f64(self, number: f64) -> Result<(), Error> {
        Self::number(number)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    harmless! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    open! {
        serialize_seq(Option<usize>);
        serialize_tuple(usize);
        serialize_tuple_struct(&'static str, usize);
        serialize_tuple_variant(&'static str, u32, &'static str, usize);
        serialize_map(Option<usize>);
        serialize_struct(&'static str, usize);
        serialize_struct_variant(&'static str, u32, &'static str, usize);
    }
}

macro_rules! parts {
    ($($kind:ident::$part:ident($($name:ty)?);)*) => {
        $(
            impl $kind for Finite {
                type Ok = ();
                type Error = Error;

                fn $part<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Result<(), Error> {
                    value.serialize(*self)
                }

                fn end(self) -> Result<(), Error> {
                    Ok(())
                }
            }
        )*
    };
}

parts! {
    SerializeSeq::serialize_element();
    SerializeTuple::serialize_element();
    SerializeTupleStruct::serialize_field();
    SerializeTupleVariant::serialize_field();
    SerializeStruct::serialize_field(&'static str);
    SerializeStructVariant::serialize_field(&'static str);
}

impl SerializeMap for Finite {
    type Ok = ();
    type Error = Error;

    /// A key that is such a number is refused where it is written.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(*self)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use crate::Json;

    #[derive(Serialize)]
    enum Shape {
        Unit,
        One(f64),
        Two(Option<f32>, u8),
        Named { number: f64, rest: Option<BTreeMap<&'static str, f64>> },
    }

    #[test]
    fn a_number_that_json_cannot_write_is_an_error_wherever_it_is() {
        let map = |number: f64| Some(BTreeMap::from([("a", number)]));
        for good in [
            Shape::Unit,
            Shape::One(f64::MAX),
            Shape::Two(None, 1),
            Shape::Two(Some(f32::MIN), 1),
            Shape::Named { number: -0.0, rest: None },
            Shape::Named { number: 1.5, rest: map(1e300) },
        ] {
            assert!(Json::of(&(good, "null", Option::<f64>::None, ())).is_ok());
        }
        for bad in [
            Shape::One(f64::NAN),
            Shape::Two(Some(f32::INFINITY), 1),
            Shape::Named { number: f64::NEG_INFINITY, rest: None },
            Shape::Named { number: 1.0, rest: map(f64::NAN) },
        ] {
            let told = Json::of(&[(Some(bad), 1)]).unwrap_err().to_string();
            assert!(told.contains("a number that JSON cannot write"), "{told}");
        }
        assert_eq!(Json::of(&f64::INFINITY).unwrap_err().to_string(), "inf is a number that JSON cannot write");
        let raw = Json::parse(r#"[null, "NaN"]"#.to_owned()).unwrap();
        assert_eq!(Json::of(&[&raw]).unwrap().as_str(), r#"[[null, "NaN"]]"#);
    }
}
