//! The fields of the state of a conversation that are used: the usage of the model and
//! the status of the agent.

use jiff::{SignedDuration, Timestamp};

use super::entry::{Used, cost};
use crate::json::{Malformed, Reader, Text, set_once};

#[derive(Default)]
pub(super) struct State<'a> {
    pub(super) status: Option<Text<'a>>,
    pub(super) cwd: Option<Text<'a>>,
    pub(super) model: Option<Text<'a>>,
    pub(super) purposes: Vec<Purpose<'a>>,
}

/// A purpose of a model, such as acting or condensing, and its usage.
#[derive(Default)]
pub(super) struct Purpose<'a> {
    pub(super) name: &'a [u8],
    pub(super) model: Option<Text<'a>>,
    pub(super) totals: Option<Used>,
    pub(super) responses: Vec<Response<'a>>,
    /// The costs of priced responses, with times.
    pub(super) costs: Vec<Cost>,
}

/// A model response.
#[derive(Default)]
pub(super) struct Response<'a> {
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
        let mut state = Self::default();
        Reader::new(text).object(|reader, key| {
            match key {
                b"execution_status" | b"agent_status" => {
                    set_once(&mut state.status, reader.text()?);
                }
                b"workspace" => {
                    reader.object(|reader, key| {
                        match key {
                            b"working_dir" => set_once(&mut state.cwd, reader.text()?),
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
                                    b"model" => set_once(&mut state.model, reader.text()?),
                                    _ => reader.pass()?,
                                }
                                Ok(())
                            })
                            .map(|_| ()),
                        _ => reader.pass(),
                    })?;
                }
                b"stats" => state.read_stats(reader)?,
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(state)
    }

    /// Reads the usage by purpose.
    pub(super) fn of_stats(text: &'a [u8]) -> Result<Self, Malformed> {
        let mut state = Self::default();
        state.read_stats(&mut Reader::new(text))?;
        Ok(state)
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
        let mut purpose = Self { name, model, totals, ..Self::default() };
        Reader::new(text).object(|reader, key| {
            match key {
                b"token_usages" => {
                    reader.array(|reader| {
                        purpose.responses.push(Response::read(reader)?);
                        Ok(())
                    })?;
                }
                b"costs" => {
                    reader.array(|reader| {
                        purpose.costs.push(Cost::read(reader)?);
                        Ok(())
                    })?;
                }
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(purpose)
    }
}

impl<'a> Response<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let text = reader.skip()?;
        let mut response = Self::default();
        response.used.read(&mut Reader::new(text))?;
        Reader::new(text).object(|reader, key| {
            match key {
                b"response_id" => set_once(&mut response.id, reader.text()?),
                b"model" => set_once(&mut response.model, reader.text()?),
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(response)
    }
}

impl Cost {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut priced = Self { usd: 0.0, at: None };
        reader.object(|reader, key| {
            match key {
                b"cost" => priced.usd = cost(reader)?,
                b"timestamp" => {
                    let secs = reader.number()?.and_then(|it| it.parse().ok());
                    let since = secs.and_then(|it| SignedDuration::try_from_secs_f64(it).ok());
                    priced.at = since.and_then(|it| Timestamp::UNIX_EPOCH.checked_add(it).ok());
                }
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(priced)
    }
}
