//! As much of PTX as the rules need: entry functions, their bounds and their instructions.

/// One `.entry` of a PTX file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Product of `.maxntid`: threads of a block at most; `None` without `__launch_bounds__`.
    pub(super) max_threads: Option<u32>,
    /// Statements of the body up to `;`, without predicate and label.
    pub(super) instructions: Vec<String>,
}

impl Entry {
    /// Whether any instruction may change memory that outlives the kernel.
    pub(super) fn writes_global(&self) -> bool {
        self.instructions.iter().any(|instruction| {
            let opcode = instruction.split_whitespace().next().unwrap_or_default();
            let mut parts = opcode.split('.');
            let operation = parts.next().unwrap_or_default();
            let local_space = parts.clone().any(|part| part.starts_with("shared"))
                || parts.any(|part| matches!(part, "local" | "param"));
            match operation {
                "st" | "red" | "atom" => !local_space,
                // The destination is the first space that a bulk copy names.
                "cp" => opcode.contains("bulk") && first_space_is_global(opcode),
                "wmma" => opcode.contains(".store"),
                "multimem" | "surf" | "sust" | "sured" | "call" => true,
                _ => false,
            }
        })
    }
}

fn first_space_is_global(opcode: &str) -> bool {
    opcode.split('.').find(|part| *part == "global" || part.starts_with("shared")) == Some("global")
}

/// Every `.entry` with a body, in the order of the text.
pub(super) fn entries(text: &str) -> Vec<Entry> {
    let mut found = Vec::new();
    let code = without_comments(text);
    let mut rest = code.as_str();
    while let Some((_, after)) = rest.split_once(".entry") {
        let Some((head, body)) = after.split_once('{') else { break };
        let end = end_of_block(body);
        let name = head
            .trim_start()
            .split(|c: char| c == '(' || c.is_whitespace())
            .next()
            .unwrap_or_default();
        found.push(Entry {
            name: name.to_owned(),
            max_threads: max_threads(head),
            instructions: instructions(&body[..end]),
        });
        rest = &body[end..];
    }
    found
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// Index of the brace that closes a block whose opening one stands before `body`.
fn end_of_block(body: &str) -> usize {
    let mut depth = 1;
    for (index, character) in body.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index;
        }
    }
    body.len()
}

fn max_threads(head: &str) -> Option<u32> {
    let (_, after) = head.split_once(".maxntid")?;
    let line = after.lines().next()?;
    line.split(',').map(|number| number.trim().parse::<u32>().ok()).product()
}

fn instructions(body: &str) -> Vec<String> {
    body.split(';')
        .flat_map(|statement| statement.lines())
        .map(|line| {
            let line = line.trim().trim_start_matches(['{', '}']).trim_start();
            let line = line.split_once(":\n").map_or(line, |(_, rest)| rest).trim_start();
            // A predicate is the first word, as in `@!%p1 bra $L__BB0_3`.
            match line.strip_prefix('@').and_then(|rest| rest.split_once(char::is_whitespace)) {
                Some((_, instruction)) => instruction.trim_start().to_owned(),
                None => line.to_owned(),
            }
        })
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
.version 9.0
.target sm_110a
.visible .entry add(
	.param .u64 .ptr .align 1 add_param_0
)
.maxntid 16, 2, 1
{
	.reg .pred 	%p<3>; // st.global in a comment
	@%p1 bra 	$L__BB0_2;
	@!%p2 st.global.f32 	[%rd1], %f1;
$L__BB0_2:
	{ // callseq 0, 0
	call.uni (retval0), vprintf, (param0, param1);
	}
	ret;
}
.visible .entry nothing()
{
	st.shared.u32 	[%r1], %r2;
	ret;
}
";

    #[test]
    fn entries_with_bounds_and_instructions() {
        let found = entries(TEXT);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].name, "add");
        assert_eq!(found[0].max_threads, Some(32));
        assert_eq!(found[0].instructions.len(), 4, "{:?}", found[0].instructions);
        assert!(found[0].instructions[1].starts_with("st.global.f32"));
        assert_eq!(found[1].name, "nothing");
        assert_eq!(found[1].max_threads, None);
    }

    #[test]
    fn only_writes_that_outlive_the_kernel_count() {
        let writes = |instruction: &str| {
            let instructions = vec![instruction.to_owned()];
            Entry { instructions, ..Entry::default() }.writes_global()
        };
        assert!(writes("st.global.v4.f32 [%rd1], {%f1, %f2, %f3, %f4}"));
        assert!(writes("st.u32 [%rd1], %r1"));
        assert!(writes("red.relaxed.gpu.global.add.f32 [%rd1], %f1"));
        assert!(writes("cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r1], 128"));
        assert!(!writes("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1]"));
        assert!(!writes("st.shared::cta.u32 [%r1], %r2"));
        assert!(!writes("st.local.u32 [%rd1], %r2"));
        assert!(!writes("ld.global.f32 %f1, [%rd1]"));
    }
}
