//! From promql-parser's syntax tree to our own, in which everything is supported and every type fits.

use std::time::Duration;

use promql_parser::label::{METRIC_NAME, MatchOp};
use promql_parser::parser::{
    self, AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, Offset, VectorMatchCardinality, VectorSelector,
};
use regex::{Regex, RegexBuilder};

use crate::binary::{Arithmetic, Cardinality, Comparison, Matching, Operator, SetOperator};
use crate::error::ParseError;
use crate::expression::{Matcher, Selector, Test, ValueType};
use crate::function::{Aggregation, Function, MapFunction, RangeFunction};
use crate::labels::Labels;
use crate::locate;
use crate::token::{self, Kind, Place, Token};

/// How large a compiled regular expression may be, in bytes.
const MAX_REGEX_BYTES: usize = 1024 * 1024;

/// A part of a checked expression. Selectors are known by their index.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Number(f64),
    Time,
    Select(usize),
    Timestamp(usize),
    Range {
        function: RangeFunction,
        selector: usize,
        parameter: Option<Box<Node>>,
    },
    Map {
        function: MapFunction,
        operand: Box<Node>,
        parameters: Vec<Node>,
    },
    Scalar(Box<Node>),
    Vector(Box<Node>),
    Absent {
        vector: Box<Node>,
        labels: Labels,
    },
    AbsentOverTime {
        selector: usize,
        labels: Labels,
    },
    Aggregate {
        aggregation: Aggregation,
        grouping: Grouping,
        vector: Box<Node>,
        parameter: Option<Box<Node>>,
    },
    /// One of the operands, or both, are scalars.
    Elementwise {
        operator: Operator,
        left: Box<Node>,
        right: Box<Node>,
        types: [ValueType; 2],
    },
    Match {
        operator: Operator,
        matching: Matching,
        left: Box<Node>,
        right: Box<Node>,
    },
    Set {
        operator: SetOperator,
        matching: Matching,
        left: Box<Node>,
        right: Box<Node>,
    },
}

/// Which labels the groups of an aggregation have.
#[derive(Clone, Debug)]
pub(crate) enum Grouping {
    By(Vec<String>),
    Without(Vec<String>),
}

pub(crate) struct Compiled {
    pub(crate) root: Node,
    pub(crate) value_type: ValueType,
    pub(crate) selectors: Vec<Selector>,
}

pub(crate) fn compile(text: &str) -> Result<Compiled, ParseError> {
    let tokens = token::tokens(text)?;
    locate::refuse_unsupported(text, &tokens)?;
    let tree = parser::parse(text).map_err(|message| locate::locate(text, &tokens, &message))?;
    let mut compiler =
        Compiler { text, tokens: &tokens, calls: locate::calls(&tokens), entered: 0, selectors: Vec::new() };
    let (root, value_type) = compiler.node(&tree)?;
    Ok(Compiled { root, value_type, selectors: compiler.selectors })
}

struct Compiler<'a> {
    text: &'a str,
    tokens: &'a [Token<'a>],
    /// Where the calls are; the tree is walked in the order of the text, so that they come in this order too.
    calls: Vec<usize>,
    /// How many calls were entered.
    entered: usize,
    selectors: Vec<Selector>,
}

impl Compiler<'_> {
    fn node(&mut self, tree: &Expr) -> Result<(Node, ValueType), ParseError> {
        Ok(match tree {
            Expr::NumberLiteral(number) => (Node::Number(number.val), ValueType::Scalar),
            Expr::Paren(paren) => self.node(&paren.expr)?,
            Expr::Unary(unary) => {
                let (operand, value_type) = self.node(&unary.expr)?;
                let operand = Box::new(operand);
                (Node::Map { function: MapFunction::Negate, operand, parameters: Vec::new() }, value_type)
            }
            Expr::VectorSelector(selector) => (Node::Select(self.selector(selector, None)?), ValueType::InstantVector),
            Expr::Aggregate(aggregate) => (self.aggregate(aggregate)?, ValueType::InstantVector),
            Expr::Binary(binary) => self.binary(binary)?,
            Expr::Call(call) => self.call(call)?,
            Expr::MatrixSelector(_) => {
                return Err(self.at_sign("[", "a range vector can only be the argument of a function"));
            }
            Expr::Subquery(_) => return Err(self.at_sign("[", "subqueries are not supported")),
            Expr::StringLiteral(_) => return Err(self.at_string("a string is no result and no operand")),
            Expr::Extension(_) => return Err(ParseError::new(self.text, 0, "extensions are not supported")),
        })
    }

    fn scalar(&mut self, tree: &Expr, place: usize, whose: &str) -> Result<Node, ParseError> {
        self.typed(tree, ValueType::Scalar, place, whose)
    }

    fn vector(&mut self, tree: &Expr, place: usize, whose: &str) -> Result<Node, ParseError> {
        self.typed(tree, ValueType::InstantVector, place, whose)
    }

    fn typed(&mut self, tree: &Expr, wanted: ValueType, place: usize, whose: &str) -> Result<Node, ParseError> {
        let (node, value_type) = self.node(tree)?;
        if value_type == wanted {
            return Ok(node);
        }
        let message = format!("expected type {wanted} in call to function '{whose}', got {value_type}");
        Err(ParseError::new(self.text, place, message))
    }

    fn aggregate(&mut self, tree: &AggregateExpr) -> Result<Node, ParseError> {
        let place = self.enter();
        let name = tree.op.to_string();
        let Some(aggregation) = Aggregation::of(&name) else {
            return Err(ParseError::new(self.text, place, format!("the aggregation '{name}' is not supported")));
        };
        let parameter = match &tree.param {
            Some(parameter) => Some(Box::new(self.scalar(parameter, place, &name)?)),
            None => None,
        };
        let grouping = match &tree.modifier {
            Some(LabelModifier::Include(labels)) => Grouping::By(labels.labels.clone()),
            Some(LabelModifier::Exclude(labels)) => Grouping::Without(labels.labels.clone()),
            None => Grouping::By(Vec::new()),
        };
        let vector = Box::new(self.vector(&tree.expr, place, &name)?);
        Ok(Node::Aggregate { aggregation, grouping, vector, parameter })
    }

    fn binary(&mut self, tree: &BinaryExpr) -> Result<(Node, ValueType), ParseError> {
        let (left, left_type) = self.node(&tree.lhs)?;
        let (right, right_type) = self.node(&tree.rhs)?;
        let (left, right) = (Box::new(left), Box::new(right));
        let name = tree.op.to_string();
        let matching = matching(tree);
        if let Some(operator) = SetOperator::of(&name) {
            return Ok((Node::Set { operator, matching, left, right }, ValueType::InstantVector));
        }
        let operator = if let Some(arithmetic) = Arithmetic::of(&name) {
            Operator::Arithmetic(arithmetic)
        } else if let Some(comparison) = Comparison::of(&name) {
            if tree.return_bool() { Operator::Truth(comparison) } else { Operator::Filter(comparison) }
        } else {
            return Err(ParseError::new(self.text, 0, format!("the operator '{name}' is not supported")));
        };
        if (left_type, right_type) == (ValueType::InstantVector, ValueType::InstantVector) {
            return Ok((Node::Match { operator, matching, left, right }, ValueType::InstantVector));
        }
        let both = left_type == right_type;
        let value_type = if both { ValueType::Scalar } else { ValueType::InstantVector };
        Ok((Node::Elementwise { operator, left, right, types: [left_type, right_type] }, value_type))
    }

    fn call(&mut self, tree: &Call) -> Result<(Node, ValueType), ParseError> {
        let place = self.enter();
        let name = tree.func.name;
        let Some(function) = Function::of(name) else {
            return Err(ParseError::new(self.text, place, format!("the function '{name}' is not supported")));
        };
        let arguments = &tree.args.args;
        let argument = |index: usize| {
            arguments.get(index).map(|argument| unwrapped(argument)).ok_or_else(|| {
                ParseError::new(self.text, place, format!("too few arguments in call to function '{name}'"))
            })
        };
        let node = match function {
            Function::Time => return Ok((Node::Time, ValueType::Scalar)),
            Function::Scalar => {
                let vector = argument(0)?;
                return Ok((Node::Scalar(Box::new(self.vector(vector, place, name)?)), ValueType::Scalar));
            }
            Function::Vector => {
                let scalar = argument(0)?;
                Node::Vector(Box::new(self.scalar(scalar, place, name)?))
            }
            Function::Absent => {
                let vector = argument(0)?;
                let labels = match vector {
                    Expr::VectorSelector(selector) => labels_of_absent(selector),
                    _ => Labels::default(),
                };
                Node::Absent { vector: Box::new(self.vector(vector, place, name)?), labels }
            }
            Function::AbsentOverTime => {
                let range = argument(0)?;
                let (selector, labels) = self.range(range, place, name)?;
                Node::AbsentOverTime { selector, labels }
            }
            Function::Timestamp => match argument(0)? {
                Expr::VectorSelector(selector) => Node::Timestamp(self.selector(selector, None)?),
                other => {
                    let operand = Box::new(self.vector(other, place, name)?);
                    Node::Map { function: MapFunction::Replace, operand, parameters: vec![Node::Time] }
                }
            },
            Function::Range(function) => self.range_function(function, arguments, place, name)?,
            Function::Map(function) => {
                let vector = argument(0)?;
                let operand = Box::new(self.vector(vector, place, name)?);
                let parameters = arguments[1..]
                    .iter()
                    .map(|parameter| self.scalar(parameter, place, name))
                    .collect::<Result<_, _>>()?;
                Node::Map { function, operand, parameters }
            }
        };
        Ok((node, ValueType::InstantVector))
    }

    /// The arguments are walked in their order, because selectors and calls are numbered so.
    fn range_function(
        &mut self,
        function: RangeFunction,
        arguments: &[Box<Expr>],
        place: usize,
        name: &str,
    ) -> Result<Node, ParseError> {
        let mut selector = None;
        let mut parameter = None;
        for argument in arguments {
            match unwrapped(argument) {
                range @ Expr::MatrixSelector(_) => selector = Some(self.range(range, place, name)?.0),
                other => parameter = Some(Box::new(self.scalar(other, place, name)?)),
            }
        }
        let Some(selector) = selector else {
            let message = format!("expected a range vector in call to function '{name}'");
            return Err(ParseError::new(self.text, place, message));
        };
        Ok(Node::Range { function, selector, parameter })
    }

    fn range(&mut self, tree: &Expr, place: usize, whose: &str) -> Result<(usize, Labels), ParseError> {
        match tree {
            Expr::MatrixSelector(range) => {
                Ok((self.selector(&range.vs, Some(range.range))?, labels_of_absent(&range.vs)))
            }
            _ => {
                let message = format!("expected a range vector in call to function '{whose}'");
                Err(ParseError::new(self.text, place, message))
            }
        }
    }

    fn selector(&mut self, tree: &VectorSelector, window: Option<Duration>) -> Result<usize, ParseError> {
        let offset = match tree.offset {
            None => Duration::ZERO,
            Some(Offset::Pos(offset)) => offset,
            Some(Offset::Neg(_)) => return Err(ParseError::new(self.text, 0, "a negative offset is not supported")),
        };
        if tree.at.is_some() {
            return Err(self.at_sign("@", "the '@' modifier is not supported"));
        }
        if !tree.matchers.or_matchers.is_empty() {
            return Err(ParseError::new(self.text, 0, "'or' between matchers is not supported"));
        }
        let matchers = tree.matchers.matchers.iter().map(|matcher| {
            let test = match matcher.op {
                MatchOp::Equal => Test::Equal(matcher.value.clone()),
                MatchOp::NotEqual => Test::NotEqual(matcher.value.clone()),
                MatchOp::Re(_) => Test::Regex(self.regex(&matcher.value)?),
                MatchOp::NotRe(_) => Test::NotRegex(self.regex(&matcher.value)?),
            };
            Ok(Matcher { label: matcher.name.clone(), test })
        });
        let matchers = matchers.collect::<Result<_, _>>()?;
        self.selectors.push(Selector { name: tree.name.clone(), matchers, window, offset });
        Ok(self.selectors.len() - 1)
    }

    /// Anchored at both ends, and a point matches a newline too: as in Prometheus 3.
    fn regex(&self, pattern: &str) -> Result<Regex, ParseError> {
        RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(MAX_REGEX_BYTES).build().map_err(|error| {
            let place = self.tokens.iter().find(|token| token.place == Place::Braces && token.text.contains(pattern));
            let message = format!("the regular expression {pattern:?} cannot be used: {}", last_line(&error));
            ParseError::new(self.text, place.map_or(0, |token| token.offset), message)
        })
    }

    /// Where the next call of the tree stands in the text.
    fn enter(&mut self) -> usize {
        self.entered += 1;
        self.calls.get(self.entered - 1).copied().unwrap_or(0)
    }

    fn at_sign(&self, sign: &str, message: &str) -> ParseError {
        let token = self.tokens.iter().find(|token| token.is(sign));
        ParseError::new(self.text, token.map_or(0, |token| token.offset), message)
    }

    fn at_string(&self, message: &str) -> ParseError {
        let token = self.tokens.iter().find(|token| token.kind == Kind::String && token.place != Place::Braces);
        ParseError::new(self.text, token.map_or(0, |token| token.offset), message)
    }
}

fn unwrapped(tree: &Expr) -> &Expr {
    match tree {
        Expr::Paren(paren) => unwrapped(&paren.expr),
        other => other,
    }
}

fn matching(tree: &BinaryExpr) -> Matching {
    let Some(modifier) = &tree.modifier else { return Matching::default() };
    let (is_on, labels) = match &modifier.matching {
        None => (false, Vec::new()),
        Some(LabelModifier::Include(labels)) => (true, labels.labels.clone()),
        Some(LabelModifier::Exclude(labels)) => (false, labels.labels.clone()),
    };
    let cardinality = match &modifier.card {
        VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => Cardinality::OneToOne,
        VectorMatchCardinality::ManyToOne(include) => Cardinality::ManyToOne(include.labels.clone()),
        VectorMatchCardinality::OneToMany(include) => Cardinality::OneToMany(include.labels.clone()),
    };
    if is_on { Matching::On { labels, cardinality } } else { Matching::Ignoring { labels, cardinality } }
}

/// What is known of a series that is not there: the labels that its selector asks for, each once and with one value.
fn labels_of_absent(selector: &VectorSelector) -> Labels {
    let mut labels = Labels::default();
    let mut known = Vec::new();
    for matcher in selector.matchers.matchers.iter().filter(|matcher| matcher.name != METRIC_NAME) {
        let is_first = !known.contains(&&matcher.name);
        if matches!(matcher.op, MatchOp::Equal) && is_first {
            labels = labels.with(matcher.name.as_str(), matcher.value.as_str());
            known.push(&matcher.name);
        } else {
            labels = labels.without(&[&matcher.name]);
        }
    }
    labels
}

/// The regex crate shows the pattern in several lines before it says what is wrong with it.
fn last_line(error: &regex::Error) -> String {
    error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}
