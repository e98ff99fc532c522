//! A simulated robot with an arm on a plane.

use eitri::ToolCall;
use serde_json::Value;

/// Places and where they are, in metres.
const PLACES: [(&str, f64, f64); 4] =
    [("dock", 0.0, 0.0), ("workbench", 3.0, 1.0), ("kitchen", -2.0, 4.0), ("door", 5.0, -2.0)];
const THINGS: [&str; 3] = ["red cup", "screwdriver", "box"];
const DEGREES_PER_SECOND: f64 = 120.0;
const ARM_SECONDS: f64 = 0.5;

/// Where the robot is and what it does.
#[derive(Debug, Clone)]
pub(crate) struct Robot {
    x: f64,
    y: f64,
    /// Degrees, counter-clockwise from the x axis.
    heading: f64,
    metres_per_second: f64,
    battery: f64,
    holding: Option<String>,
    action: Option<Action>,
}

/// What the robot is to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Drive to a point without turning.
    Drive {
        x: f64,
        y: f64,
    },
    /// Turn by so many degrees, counter-clockwise.
    Turn {
        degrees: f64,
    },
    /// Move the arm for so long, and hold then this.
    Arm {
        seconds: f64,
        then_holding: Option<String>,
    },
    /// Drive so fast from now on.
    Speed {
        metres_per_second: f64,
    },
    Stop,
    /// Nothing to move: this is the result.
    Say {
        result: String,
    },
}

impl Action {
    /// The action that a call asks for, or why it is not possible.
    pub(crate) fn of_call(call: &ToolCall, robot: &Robot) -> Result<Self, String> {
        let text = |name: &str| {
            let value = call.arguments.get(name).and_then(Value::as_str);
            value.ok_or_else(|| format!("{name} is missing"))
        };
        let number = |name: &str| {
            let value = call.arguments.get(name).and_then(Value::as_f64);
            value.ok_or_else(|| format!("{name} is missing"))
        };
        match call.name.as_str() {
            "move" => {
                let degrees = match text("direction")? {
                    "forward" => 0.0,
                    "left" => 90.0,
                    "backward" => 180.0,
                    "right" => -90.0,
                    other => return Err(format!("unknown direction {other}")),
                };
                let (sin, cos) = (robot.heading + degrees).to_radians().sin_cos();
                let metres = number("distance_m")?;
                Ok(Self::Drive { x: robot.x + metres * cos, y: robot.y + metres * sin })
            }
            "turn" => Ok(Self::Turn { degrees: number("degrees")? }),
            "go_to" => {
                let place = text("place")?;
                let found = PLACES.iter().find(|(name, ..)| *name == place);
                let (_, x, y) = found.ok_or_else(|| format!("unknown place {place}"))?;
                Ok(Self::Drive { x: *x, y: *y })
            }
            "pick" if robot.holding.is_some() => Err("gripper is not empty".to_owned()),
            "pick" => {
                let object = text("object")?.to_owned();
                Ok(Self::Arm { seconds: ARM_SECONDS, then_holding: Some(object) })
            }
            "place" if robot.holding.is_none() => Err("object not found".to_owned()),
            "place" => Ok(Self::Arm { seconds: ARM_SECONDS, then_holding: None }),
            "set_speed" => Ok(Self::Speed { metres_per_second: number("mps")?.clamp(0.0, 2.0) }),
            "stop" => Ok(Self::Stop),
            "report" => robot.report(text("what")?).map(|result| Self::Say { result }),
            "say" => {
                println!("    (aloud) {}", text("text")?);
                Ok(Self::Say { result: "ok".to_owned() })
            }
            other => Err(format!("unknown function {other}")),
        }
    }
}

impl Robot {
    pub(crate) fn new() -> Self {
        Self {
            x: 0.0,
            y: 0.0,
            heading: 0.0,
            metres_per_second: 1.0,
            battery: 87.0,
            holding: None,
            action: None,
        }
    }

    /// For the system message: places, objects and the state.
    pub(crate) fn describe(&self) -> String {
        let places: Vec<&str> = PLACES.iter().map(|(name, ..)| *name).collect();
        let (x, y, battery) = (self.x, self.y, self.battery);
        let speed = self.metres_per_second;
        let holding = self.holding.as_deref().unwrap_or("nothing");
        format!(
            "You control a small mobile robot with an arm.\nKnown places: {}.\nObjects: {}.\n\
             Battery: {battery:.0} %\nPosition: x {x:.1} m, y {y:.1} m\nSpeed: {speed:.1} m/s\n\
             Status: idle\nHolding: {holding}",
            places.join(", "),
            THINGS.join(", "),
        )
    }

    pub(crate) fn position(&self) -> String {
        let held = self.holding.as_ref().map(|held| format!(", holding {held}"));
        let (x, y, heading) = (self.x, self.y, self.heading.rem_euclid(360.0));
        format!("x {x:.2} m, y {y:.2} m, heading {heading:.0} degrees{}", held.unwrap_or_default())
    }

    fn report(&self, what: &str) -> Result<String, String> {
        match what {
            "battery" => Ok(format!("{:.0} %", self.battery)),
            "position" => Ok(format!("x {:.1} m, y {:.1} m", self.x, self.y)),
            "speed" => Ok(format!("{:.1} m/s", self.metres_per_second)),
            "status" => Ok("idle".to_owned()),
            other => Err(format!("cannot report {other}")),
        }
    }

    /// Takes up an action; `Some` is the result of one that takes no time.
    pub(crate) fn begin(&mut self, action: Action) -> Option<String> {
        match action {
            Action::Say { result } => return Some(result),
            Action::Stop => self.action = None,
            Action::Speed { metres_per_second } => self.metres_per_second = metres_per_second,
            moving => {
                self.action = Some(moving);
                return None;
            }
        }
        Some("ok".to_owned())
    }

    /// One tick of the control loop: whether an action has just been completed.
    pub(crate) fn step(&mut self, seconds: f64) -> bool {
        self.battery = (self.battery - 0.005 * seconds).max(0.0);
        let Some(action) = &mut self.action else { return false };
        let done = match action {
            Action::Drive { x, y } => {
                let (dx, dy) = (*x - self.x, *y - self.y);
                let (distance, step) = (dx.hypot(dy), self.metres_per_second * seconds);
                let share = if distance <= step { 1.0 } else { step / distance };
                self.x += dx * share;
                self.y += dy * share;
                // A robot that may not move is there at once, or it would never be.
                distance <= step || step == 0.0
            }
            Action::Turn { degrees } => {
                let step = degrees.abs().min(DEGREES_PER_SECOND * seconds).copysign(*degrees);
                self.heading += step;
                *degrees -= step;
                degrees.abs() < 1e-9
            }
            Action::Arm { seconds: left, then_holding } => {
                *left -= seconds;
                if *left <= 0.0 {
                    self.holding = then_holding.take();
                }
                *left <= 0.0
            }
            Action::Speed { .. } | Action::Stop | Action::Say { .. } => true,
        };
        if done {
            self.action = None;
        }
        done
    }
}
