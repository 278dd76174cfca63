//! From `preprocessor_config.json` to a preprocessor.

use serde_json::{Value, json};

use super::{FILE, Filter, ImagePreprocessor, MAX_PIXELS, Normal, Size, Tones, Units};
use crate::models::ModelError;
use crate::models::fields::Fields;

/// What a processor does where its file does not say.
struct Defaults {
    name: &'static str,
    size: Size,
    /// Whether one number as a size means a square; otherwise it is the shorter side.
    square: bool,
    filter: Filter,
    crop: Option<u32>,
    normal: Normal,
}

const CLIP_TONES: Normal = Normal {
    mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
    std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
};
const HALVES: Normal = Normal {
    mean: [0.5; 3],
    std: [0.5; 3],
};

const CLIP: Defaults = Defaults {
    name: "CLIP",
    size: Size::Shortest(224),
    square: false,
    filter: Filter::Bicubic,
    crop: Some(224),
    normal: CLIP_TONES,
};

/// transformers' own defaults, by processor; a name is given without what follows it: `ImageProcessor`,
/// `FeatureExtractor` or the like.
const PROCESSORS: [Defaults; 8] = [
    CLIP,
    Defaults {
        name: "Siglip",
        size: Size::Exact([224; 2]),
        square: false,
        filter: Filter::Bicubic,
        crop: None,
        normal: HALVES,
    },
    Defaults {
        name: "ViT",
        size: Size::Exact([224; 2]),
        square: true,
        filter: Filter::Bilinear,
        crop: None,
        normal: HALVES,
    },
    Defaults {
        name: "Bit",
        ..CLIP
    },
    Defaults {
        name: "Blip",
        size: Size::Exact([384; 2]),
        square: true,
        filter: Filter::Bicubic,
        crop: None,
        normal: CLIP_TONES,
    },
    Defaults {
        name: EFFICIENT_NET,
        size: Size::Exact([346; 2]),
        square: true,
        filter: Filter::Bicubic,
        crop: None,
        normal: HALVES,
    },
    Defaults {
        name: LLAVA,
        ..CLIP
    },
    Defaults {
        name: QWEN2_VL,
        size: Size::Units(Units {
            unit: 28,
            least: 56 * 56,
            most: 28 * 28 * 1280,
        }),
        crop: None,
        ..CLIP
    },
];

const LLAVA: &str = "Llava";
const QWEN2_VL: &str = "Qwen2VL";

const EFFICIENT_NET: &str = "EfficientNet";
/// EfficientNet's, where it is asked to crop and not told what.
const EFFICIENT_NET_CROP: u32 = 289;

pub(super) fn read(value: Value) -> Result<ImagePreprocessor, ModelError> {
    let fields = Fields::new(FILE, value);
    let defaults = processor(&fields)?;
    // What would change the picture in ways that are not followed.
    let may_pad = defaults.name == LLAVA;
    if !may_pad {
        fields.only("do_pad", &json!(false))?;
    }
    fields.only("do_flip_channel_order", &json!(false))?;

    let resize = if fields.flag("do_resize", true)? {
        Some((size(&fields, defaults)?, filter(&fields, defaults)?))
    } else {
        None
    };
    let crop = if fields.flag("do_center_crop", defaults.crop.is_some())? {
        Some(crop_size(&fields, defaults)?)
    } else {
        None
    };
    let bars = if may_pad && fields.flag("do_pad", false)? {
        let mean = channels(&fields, "image_mean", defaults.normal.mean)?;
        Some(mean.map(|mean| (f64::from(mean) * 255.0) as u8))
    } else {
        None
    };
    Ok(ImagePreprocessor {
        bars,
        resize,
        crop,
        tones: tones(&fields, defaults)?,
    })
}

fn processor(fields: &Fields) -> Result<&'static Defaults, ModelError> {
    let named = match fields.text("image_processor_type")? {
        Some(name) => Some(name),
        None => fields.text("feature_extractor_type")?,
    };
    let found = named.unwrap_or("none");
    let family = found.trim_end_matches("Pil").trim_end_matches("Fast");
    let family = family
        .strip_suffix("ImageProcessor")
        .or_else(|| family.strip_suffix("FeatureExtractor"));
    let known = PROCESSORS.iter().find(|known| Some(known.name) == family);
    known.ok_or_else(|| ModelError::UnsupportedArchitecture {
        found: format!("image processor {found}"),
        supported: PROCESSORS.iter().map(|known| known.name).collect(),
    })
}

fn size(fields: &Fields, defaults: &Defaults) -> Result<Size, ModelError> {
    const FIELD: &str = "size";
    if let Size::Units(usual) = defaults.size {
        return units(fields, usual).map(Size::Units);
    }
    let Some(value) = fields.get(FIELD) else {
        return Ok(defaults.size);
    };
    let size = match value {
        Value::Number(_) if !defaults.square => Size::Shortest(count(fields, FIELD, fields)?),
        Value::Object(sides) if sides.contains_key("shortest_edge") => {
            if sides
                .get("longest_edge")
                .is_some_and(|edge| !edge.is_null())
            {
                return Err(fields.invalid(FIELD, "longest_edge is not supported"));
            }
            let inner = Fields::new(FILE, value.clone());
            Size::Shortest(count(&inner, "shortest_edge", fields)?)
        }
        _ => Size::Exact(exact(fields, FIELD)?),
    };
    if let Size::Shortest(side) = size {
        bounded(fields, FIELD, [side; 2])?;
    }
    Ok(size)
}

/// How large pictures may be whose size is their own.
fn units(fields: &Fields, usual: Units) -> Result<Units, ModelError> {
    let bounded = |field: &str, value: usize| {
        u32::try_from(value)
            .ok()
            .filter(|value| u64::from(*value) <= MAX_PIXELS)
            .ok_or_else(|| fields.invalid(field, format!("{value} are more than {MAX_PIXELS}")))
    };
    let patch = fields.count("patch_size")?.unwrap_or(14);
    let merge = fields.count("merge_size")?.unwrap_or(2);
    let unit = bounded("patch_size", patch.saturating_mul(merge))?;
    let size = fields.within("size");
    let area = |older: &str, newer: &str, usual: u32| {
        let inner = size.as_ref().map_or(Ok(None), |size| size.count(newer))?;
        let area = fields.count(older)?.or(inner);
        area.map_or(Ok(usual), |area| bounded(older, area))
    };
    let least = area("min_pixels", "shortest_edge", usual.least)?;
    let most = area("max_pixels", "longest_edge", usual.most)?;
    if least > most || u64::from(unit) * u64::from(unit) > u64::from(most) {
        let detail = format!("{most} are fewer than {least}, or than a square of {unit}");
        return Err(fields.invalid("max_pixels", detail));
    }
    Ok(Units { unit, least, most })
}

fn crop_size(fields: &Fields, defaults: &Defaults) -> Result<[u32; 2], ModelError> {
    const FIELD: &str = "crop_size";
    if fields.get(FIELD).is_some() {
        return exact(fields, FIELD);
    }
    let default = match defaults.name {
        EFFICIENT_NET => Some(EFFICIENT_NET_CROP),
        _ => defaults.crop,
    };
    let side = default.ok_or_else(|| fields.invalid(FIELD, "it is missing"))?;
    Ok([side; 2])
}

/// Height and width: a number for both, a list, or an object of the two.
fn exact(fields: &Fields, field: &str) -> Result<[u32; 2], ModelError> {
    let named = match fields.get(field) {
        Some(Value::Number(_)) => {
            let side = count(fields, field, fields)?;
            json!({"height": side, "width": side})
        }
        Some(value @ Value::Object(_)) => value.clone(),
        Some(Value::Array(sides)) if sides.len() == 2 => {
            json!({"height": sides[0], "width": sides[1]})
        }
        _ => return Err(fields.invalid(field, "height and width are needed")),
    };
    let named = Fields::new(FILE, named);
    let sides = [
        count(&named, "height", fields)?,
        count(&named, "width", fields)?,
    ];
    bounded(fields, field, sides)?;
    Ok(sides)
}

fn count(of: &Fields, field: &str, file: &Fields) -> Result<u32, ModelError> {
    let count = of.required(&[field])?;
    u32::try_from(count).map_err(|_| file.invalid(field, format!("{count} is too many")))
}

fn bounded(fields: &Fields, field: &str, [height, width]: [u32; 2]) -> Result<(), ModelError> {
    if u64::from(height) * u64::from(width) <= MAX_PIXELS {
        return Ok(());
    }
    let detail = format!("{height}x{width} are more than {MAX_PIXELS} pixels");
    Err(fields.invalid(field, detail))
}

fn filter(fields: &Fields, defaults: &Defaults) -> Result<Filter, ModelError> {
    const FIELD: &str = "resample";
    let Some(number) = fields.whole(FIELD)? else {
        return Ok(defaults.filter);
    };
    Filter::from_number(number)
        .ok_or_else(|| fields.invalid(FIELD, format!("{number} is the number of no filter")))
}

fn tones(fields: &Fields, defaults: &Defaults) -> Result<Tones, ModelError> {
    let factor = if fields.flag("do_rescale", true)? {
        Some(fields.number("rescale_factor")?.unwrap_or(1.0 / 255.0))
    } else {
        None
    };
    let normal = Normal {
        mean: channels(fields, "image_mean", defaults.normal.mean)?,
        std: channels(fields, "image_std", defaults.normal.std)?,
    };
    let efficient_net = defaults.name == EFFICIENT_NET;
    if normal.std.iter().any(|&std| std <= 0.0) {
        return Err(fields.invalid("image_std", "a deviation is above 0"));
    }
    let once = fields.flag("do_normalize", true)?;
    let again = efficient_net && fields.flag("include_top", true)?;
    let offset = efficient_net && fields.flag("rescale_offset", false)?;
    let tones = Tones {
        factor,
        offset: offset && factor.is_some(),
        normal: [
            once.then_some(normal),
            again.then_some(Normal {
                mean: [0.0; 3],
                ..normal
            }),
        ],
    };
    let ends = (0..3).flat_map(|channel| [tones.tone(0, channel), tones.tone(u8::MAX, channel)]);
    if ends.into_iter().all(f32::is_finite) {
        Ok(tones)
    } else {
        Err(fields.invalid("image_std", "the values would not be finite"))
    }
}

/// A number for each channel, or one for all.
fn channels(fields: &Fields, field: &str, default: [f32; 3]) -> Result<[f32; 3], ModelError> {
    let Some(value) = fields.get(field) else {
        return Ok(default);
    };
    let number = |value: &Value| {
        value
            .as_f64()
            .map(|number| number as f32)
            .filter(|number| number.is_finite())
            .ok_or_else(|| fields.invalid(field, format!("{value} is not a number")))
    };
    match value {
        Value::Array(values) => match values.as_slice() {
            [red, green, blue] => Ok([number(red)?, number(green)?, number(blue)?]),
            _ => Err(fields.invalid(field, format!("{} channels are not 3", values.len()))),
        },
        single => Ok([number(single)?; 3]),
    }
}
