//! The state of a conversation, as far as it is wanted: what the answers of the
//! model used, and what the agent is doing.

use jiff::{SignedDuration, Timestamp};

use super::entry::{Used, cost};
use crate::json::{Malformed, Reader, Text, keep};

#[derive(Default)]
pub(super) struct State<'a> {
    pub(super) status: Option<Text<'a>>,
    pub(super) cwd: Option<Text<'a>>,
    pub(super) model: Option<Text<'a>>,
    pub(super) purposes: Vec<Purpose<'a>>,
}

/// What a model is used for, like to act or to condense, and what that took.
#[derive(Default)]
pub(super) struct Purpose<'a> {
    pub(super) name: &'a [u8],
    pub(super) model: Option<Text<'a>>,
    pub(super) totals: Option<Used>,
    pub(super) answers: Vec<Answer<'a>>,
    /// What priced answers cost, and when.
    pub(super) costs: Vec<Cost>,
}

/// An answer of the model.
#[derive(Default)]
pub(super) struct Answer<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) model: Option<Text<'a>>,
    pub(super) used: Used,
}

pub(super) struct Cost {
    pub(super) usd: f64,
    pub(super) at: Option<Timestamp>,
}

impl<'a> State<'a> {
    pub(super) fn read(text: &'a [u8]) -> Result<Self, Malformed> {
        let mut res = Self::default();
        Reader::new(text).object(|reader, key| {
            match key {
                b"execution_status" | b"agent_status" => keep(&mut res.status, reader.text()?),
                b"workspace" => {
                    reader.object(|reader, key| {
                        match key {
                            b"working_dir" => keep(&mut res.cwd, reader.text()?),
                            _ => reader.pass()?,
                        }
                        Ok(())
                    })?;
                }
                b"agent" => {
                    reader.object(|reader, key| match key {
                        b"llm" => reader
                            .object(|reader, key| {
                                match key {
                                    b"model" => keep(&mut res.model, reader.text()?),
                                    _ => reader.pass()?,
                                }
                                Ok(())
                            })
                            .map(|_| ()),
                        _ => reader.pass(),
                    })?;
                }
                b"stats" => res.read_stats(reader)?,
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(res)
    }

    /// What all uses of models took.
    pub(super) fn of_stats(text: &'a [u8]) -> Result<Self, Malformed> {
        let mut res = Self::default();
        res.read_stats(&mut Reader::new(text))?;
        Ok(res)
    }

    fn read_stats(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        reader.object(|reader, key| match key {
            b"usage_to_metrics" => reader
                .object(|reader, name| {
                    self.purposes.push(Purpose::read(reader, name)?);
                    Ok(())
                })
                .map(|_| ()),
            _ => reader.pass(),
        })?;
        Ok(())
    }
}

impl<'a> Purpose<'a> {
    fn read(reader: &mut Reader<'a>, name: &'a [u8]) -> Result<Self, Malformed> {
        let text = reader.skip()?;
        let (totals, model) = Used::read_totals(&mut Reader::new(text))?;
        let mut res = Self { name, model, totals, ..Self::default() };
        Reader::new(text).object(|reader, key| {
            match key {
                b"token_usages" => {
                    reader.array(|reader| {
                        res.answers.push(Answer::read(reader)?);
                        Ok(())
                    })?;
                }
                b"costs" => {
                    reader.array(|reader| {
                        res.costs.push(Cost::read(reader)?);
                        Ok(())
                    })?;
                }
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(res)
    }
}

impl<'a> Answer<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let text = reader.skip()?;
        let mut res = Self::default();
        res.used.read(&mut Reader::new(text))?;
        Reader::new(text).object(|reader, key| {
            match key {
                b"response_id" => keep(&mut res.id, reader.text()?),
                b"model" => keep(&mut res.model, reader.text()?),
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(res)
    }
}

impl Cost {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut res = Self { usd: 0.0, at: None };
        reader.object(|reader, key| {
            match key {
                b"cost" => res.usd = cost(reader)?,
                b"timestamp" => {
                    let secs = reader.number()?.and_then(|it| it.parse().ok());
                    let since = secs.and_then(|it| SignedDuration::try_from_secs_f64(it).ok());
                    res.at = since.and_then(|it| Timestamp::UNIX_EPOCH.checked_add(it).ok());
                }
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(res)
    }
}
