use clap::ValueEnum;

/// A client whose hooks call the program. The name of its source is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// Claude Code
    ClaudeCode,
    /// Codex CLI
    Codex,
    /// Gemini CLI
    GeminiCli,
    /// GitHub Copilot CLI
    CopilotCli,
    /// Cursor
    Cursor,
    /// Qwen Code
    QwenCode,
    /// opencode, through a plugin
    Opencode,
}

impl Client {
    /// Returns the name on the command line, which is also the kind of the client's source.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::GeminiCli => "gemini-cli",
            Self::CopilotCli => "copilot-cli",
            Self::Cursor => "cursor",
            Self::QwenCode => "qwen-code",
            Self::Opencode => "opencode",
        }
    }

    /// Returns whether a hook can let the client ask its person. If not, a refusal takes the place
    /// of the question.
    pub(crate) const fn can_ask(self) -> bool {
        !matches!(self, Self::Codex | Self::Opencode)
    }
}
