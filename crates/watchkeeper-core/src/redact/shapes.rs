//! Tokens with the prefix of a service.
//!
//! The prefixes, alphabets and lengths are those of the public rules of
//! [gitleaks](https://github.com/gitleaks/gitleaks/blob/master/config/gitleaks.toml) and
//! [TruffleHog](https://github.com/trufflesecurity/trufflehog/tree/main/pkg/detectors), and of the
//! documentation of the services.

use std::ops::Range;

use super::{
    bytes::{Beginning, Set},
    random, unusual,
};

/// The shape of the tokens of one service: a prefix, and characters of one set after it.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) prefix: &'static str,
    pub(super) set: Set,
    /// The least number of characters after the prefix. Less than whole tokens have if the prefix
    /// is unmistakable, since agents cut texts.
    pub(super) min: usize,
    /// Whether a longer run of characters is no token.
    pub(super) is_exact: bool,
    /// The first bytes of the prefix.
    beginning: Beginning,
}

const fn long(prefix: &'static str, set: Set, min: usize) -> Shape {
    Shape { prefix, set, min, is_exact: false, beginning: Beginning::of(prefix.as_bytes()) }
}

const fn exact(prefix: &'static str, set: Set, len: usize) -> Shape {
    Shape { prefix, set, min: len, is_exact: true, beginning: Beginning::of(prefix.as_bytes()) }
}

/// The shapes, in order of their prefixes. Of two prefixes at one place, any may match.
#[rustfmt::skip]
pub(super) static SHAPES: &[Shape] = &[
    long("1//0", Set::TOKEN, 30), // Google
    long("A3-", Set::UPPER_DIGIT.or(Set::DASH), 30), // 1Password
    exact("ABIA", Set::UPPER_DIGIT, 16), // AWS
    long("ABSK", Set::BASE64, 60), // Amazon Bedrock
    exact("ACCA", Set::UPPER_DIGIT, 16),
    long("AGE-SECRET-KEY-1", Set::UPPER_DIGIT, 20), // age
    exact("AKIA", Set::UPPER_DIGIT, 16),
    exact("AKID", Set::ALNUM, 32), // Tencent Cloud
    long("AKCp", Set::ALNUM, 40), // Artifactory
    exact("API-", Set::UPPER_DIGIT, 26), // Octopus Deploy
    long("AQVN", Set::TOKEN, 35), // Yandex Cloud
    exact("ASIA", Set::UPPER_DIGIT, 16),
    long("ATATT3", Set::DOTTED, 30), // Atlassian
    long("ATBB", Set::ALNUM, 28), // Bitbucket
    long("ATCTT3", Set::DOTTED, 30),
    long("AIza", Set::TOKEN, 30), // Google
    long("CCIPAT_", Set::TOKEN, 20), // CircleCI
    long("CCIPRJ_", Set::TOKEN, 20),
    long("CFPAT-", Set::TOKEN, 30), // Contentful
    long("CLOJARS_", Set::ALNUM, 40), // Clojars
    long("EAA", Set::ALNUM, 50), // Facebook, Square
    exact("EZAK", Set::ALNUM, 54), // EasyPost
    exact("EZTK", Set::ALNUM, 54),
    long("FLWSECK-", Set::ALNUM, 12), // Flutterwave
    long("FLWSECK_TEST-", Set::ALNUM, 12),
    long("GOCSPX-", Set::TOKEN, 20), // Google
    long("GR1348941", Set::TOKEN, 16), // GitLab
    long("HRKU-", Set::TOKEN, 30), // Heroku
    long("LS0tLS1CRUdJTi", Set::BASE64, 30), // a PEM file in base64
    long("LTAI", Set::ALNUM, 12), // Alibaba Cloud
    long("MIGHAgEAMBMG", Set::BASE64, 30), // the bodies of private keys
    long("MIIEowIBAAKC", Set::BASE64, 30),
    long("MIIEpAIBAAKC", Set::BASE64, 30),
    long("MIIEpQIBAAKC", Set::BASE64, 30),
    long("MIIEvAIBADAN", Set::BASE64, 30),
    long("MIIEvQIBADAN", Set::BASE64, 30),
    long("MIIEvgIBADAN", Set::BASE64, 30),
    long("NRAK-", Set::UPPER_DIGIT, 20), // New Relic
    long("NRII-", Set::TOKEN, 30),
    long("NRJS-", Set::HEX, 19),
    long("PMAK-", Set::HEX_DASH, 30), // Postman
    long("SG.", Set::DOTTED, 20), // SendGrid
    exact("SK", Set::HEX, 32), // Twilio
    long("access-development-", Set::HEX_DASH, 30), // Plaid
    long("access-production-", Set::HEX_DASH, 30),
    long("access-sandbox-", Set::HEX_DASH, 30),
    long("apify_api_", Set::ALNUM, 20), // Apify
    long("api_org_", Set::ALNUM, 30), // Hugging Face
    long("b3BlbnNzaC1rZXktdjE", Set::BASE64, 10), // a private key of OpenSSH
    long("bb_live_", Set::TOKEN, 16), // Browserbase
    long("bedrock-api-key-", Set::BASE64, 30), // Amazon Bedrock
    long("bkua_", Set::HEX, 30), // Buildkite
    long("cfat_", Set::TOKEN, 35), // Cloudflare
    long("cfut_", Set::TOKEN, 35),
    exact("cio", Set::ALNUM, 32), // crates.io
    exact("cmVmd", Set::ALNUM, 59), // Artifactory
    long("csk-", Set::ALNUM, 30), // Cerebras
    exact("dapi", Set::HEX, 32), // Databricks
    long("dckr_oat_", Set::TOKEN, 20), // Docker
    long("dckr_pat_", Set::TOKEN, 20),
    long("dnkey-", Set::TOKEN, 50), // Defined Networking
    long("doo_v1_", Set::HEX, 20), // DigitalOcean
    long("dop_v1_", Set::HEX, 20),
    long("dor_v1_", Set::HEX, 20),
    long("dp.audit.", Set::ALNUM, 20), // Doppler
    long("dp.ct.", Set::ALNUM, 20),
    long("dp.pt.", Set::ALNUM, 20),
    long("dp.sa.", Set::ALNUM, 20),
    long("dp.scim.", Set::ALNUM, 20),
    long("dp.st.", Set::DOTTED, 20),
    long("dt0c01.", Set::DOTTED, 40), // Dynatrace
    long("dt0s01.", Set::DOTTED, 40),
    long("duffel_live_", Set::TOKEN, 20), // Duffel
    long("duffel_test_", Set::TOKEN, 20),
    long("e2b_", Set::HEX, 30), // E2B
    long("eyJ", Set::DOTTED, 16), // JSON web tokens, and other JSON in base64
    exact("fc-", Set::HEX, 32), // Firecrawl
    long("figd_", Set::TOKEN, 30), // Figma
    long("figo_", Set::TOKEN, 30),
    long("fio-u-", Set::TOKEN, 40), // Frame.io
    long("fm1a_", Set::BASE64, 30), // Fly.io
    long("fm1r_", Set::BASE64, 30),
    long("fm2_", Set::BASE64, 30),
    long("fo1_", Set::TOKEN, 30),
    long("fw_", Set::ALNUM, 22), // Fireworks
    long("gho_", Set::ALNUM, 16), // GitHub
    long("ghp_", Set::ALNUM, 16),
    long("ghr_", Set::ALNUM, 16),
    long("ghs_", Set::ALNUM, 16),
    long("ghu_", Set::ALNUM, 16),
    long("github_pat_", Set::WORD, 16),
    long("glagent-", Set::TOKEN, 16), // GitLab
    long("glc_", Set::BASE64, 32), // Grafana
    long("glcbt-", Set::TOKEN, 16),
    long("gldt-", Set::TOKEN, 16),
    long("glffct-", Set::TOKEN, 16),
    long("glft-", Set::TOKEN, 16),
    long("glimt-", Set::TOKEN, 16),
    long("gloas-", Set::TOKEN, 16),
    long("glpat-", Set::DOTTED, 16),
    long("glptt-", Set::HEX, 16),
    long("glrt-", Set::DOTTED, 16),
    long("glsa_", Set::WORD, 30),
    long("glsoat-", Set::TOKEN, 16),
    long("gsk_", Set::ALNUM, 20), // Groq
    long("hf_", Set::ALNUM, 20), // Hugging Face
    long("hvb.", Set::TOKEN, 16), // Vault
    long("hvr.", Set::TOKEN, 16),
    long("hvs.", Set::TOKEN, 16),
    exact("ico-", Set::ALNUM, 32), // Infracost
    long("jina_", Set::ALNUM, 30), // Jina
    exact("key-", Set::HEX, 32), // Mailgun
    long("lin_api_", Set::ALNUM, 20), // Linear
    long("lin_oauth_", Set::ALNUM, 20),
    exact("live_", Set::HEX, 35), // Lob
    long("lsv2_pt_", Set::WORD, 20), // LangSmith
    long("lsv2_sk_", Set::WORD, 20),
    long("mdb_sa_sk_", Set::TOKEN, 20), // MongoDB Atlas
    long("mfa.", Set::TOKEN, 60), // Discord
    long("napi_", Set::ALNUM, 40), // Neon
    long("nfp_", Set::ALNUM, 30), // Netlify
    long("npm_", Set::ALNUM, 20), // npm
    long("ntn_", Set::ALNUM, 30), // Notion
    long("nvapi-", Set::TOKEN, 30), // NVIDIA
    long("ops_eyJ", Set::BASE64, 30), // 1Password
    exact("oy2", Set::LOWER.or(Set::DIGIT), 43), // NuGet
    exact("p8e-", Set::ALNUM, 32), // Adobe
    long("pat-eu1-", Set::HEX_DASH, 30), // HubSpot
    long("pat-na1-", Set::HEX_DASH, 30),
    long("pat-na2-", Set::HEX_DASH, 30),
    long("pat.", Set::DOTTED, 60), // Harness
    long("pcsk_", Set::WORD, 30), // Pinecone
    long("phx_", Set::ALNUM, 30), // PostHog
    long("pk_live_", Set::ALNUM, 16), // Stripe
    long("pnu_", Set::ALNUM, 30), // Prefect
    long("pplx-", Set::ALNUM, 20), // Perplexity
    long("pscale_oauth_", Set::DOTTED, 16), // PlanetScale
    long("pscale_pw_", Set::DOTTED, 16),
    long("pscale_tkn_", Set::DOTTED, 16),
    long("pul-", Set::HEX, 32), // Pulumi
    long("pypi-", Set::TOKEN, 30), // PyPI
    long("r8_", Set::ALNUM, 30), // Replicate
    long("rdme_", Set::ALNUM, 60), // ReadMe
    long("re_", Set::WORD, 33), // Resend
    long("rk_live_", Set::ALNUM, 10), // Stripe
    long("rk_prod_", Set::ALNUM, 10),
    long("rk_test_", Set::ALNUM, 10),
    long("rnd_", Set::ALNUM, 26), // Render
    long("rubygems_", Set::HEX, 20), // RubyGems
    long("rzp_live_", Set::ALNUM, 14), // Razorpay
    long("rzp_test_", Set::ALNUM, 14),
    long("s-s4t2af-", Set::HEX, 40), // 42
    long("s-s4t2ud-", Set::HEX, 40),
    long("sat.", Set::DOTTED, 60), // Harness
    long("sb_secret_", Set::TOKEN, 16), // Supabase
    long("sbp_", Set::HEX, 30),
    long("secret_", Set::ALNUM, 40), // Notion
    long("sgp_", Set::WORD, 40), // Sourcegraph
    long("sha256~", Set::TOKEN, 40), // OpenShift
    long("shippo_live_", Set::HEX, 20), // Shippo
    long("shippo_test_", Set::HEX, 20),
    long("shpat_", Set::HEX, 20), // Shopify
    long("shpca_", Set::HEX, 20),
    long("shppa_", Set::HEX, 20),
    long("shprt_", Set::HEX, 20),
    long("shpss_", Set::HEX, 20),
    long("sk-", Set::ALNUM, 16), // OpenAI, DeepSeek
    long("sk-admin-", Set::TOKEN, 16),
    long("sk-ant-", Set::TOKEN, 16), // Anthropic
    long("sk-lf-", Set::HEX_DASH, 30), // Langfuse
    long("sk-or-v1-", Set::HEX, 16), // OpenRouter
    long("sk-proj-", Set::TOKEN, 16),
    long("sk-svcacct-", Set::TOKEN, 16),
    long("sk.", Set::DOTTED, 60), // Mapbox
    long("sk_", Set::HEX, 40), // ElevenLabs
    long("sk_live_", Set::ALNUM, 10), // Stripe
    long("sk_prod_", Set::ALNUM, 10),
    long("sk_test_", Set::ALNUM, 10),
    long("sl.", Set::DOTTED, 100), // Dropbox
    long("sm_aat_", Set::ALNUM, 16), // SettleMint
    long("sm_pat_", Set::ALNUM, 16),
    long("sm_sat_", Set::ALNUM, 16),
    long("sntrys_", Set::BASE64, 30), // Sentry
    long("sntryu_", Set::HEX, 30),
    long("sq0atp-", Set::TOKEN, 20), // Square
    long("sq0csp-", Set::TOKEN, 20),
    long("sqa_", Set::HEX, 40), // SonarQube
    long("sqp_", Set::HEX, 40),
    long("squ_", Set::HEX, 40),
    long("t1.", Set::DOTTED, 60), // Yandex Cloud
    exact("test_", Set::HEX, 35), // Lob
    long("tfp_", Set::DOTTED, 40), // Typeform
    long("tgp_v1_", Set::TOKEN, 30), // Together
    long("tk-us-", Set::TOKEN, 40), // Scalingo
    long("tskey-", Set::TOKEN, 20), // Tailscale
    long("tvly-", Set::TOKEN, 20), // Tavily
    long("v1.0-", Set::HEX_DASH, 100), // Cloudflare
    long("vck_", Set::TOKEN, 40), // Vercel
    long("vcp_", Set::TOKEN, 40),
    long("waka_", Set::HEX_DASH, 30), // WakaTime
    long("whsec_", Set::BASE64, 16), // Stripe, Standard Webhooks
    long("xai-", Set::ALNUM, 20), // xAI
    long("xapp-", Set::TOKEN, 20), // Slack
    long("xkeysib-", Set::HEX_DASH, 40), // Brevo
    long("xoxa-", Set::TOKEN, 12), // Slack
    long("xoxb-", Set::TOKEN, 12),
    long("xoxc-", Set::TOKEN, 12),
    long("xoxd-", Set::TOKEN, 12),
    long("xoxe-", Set::TOKEN, 12),
    long("xoxe.", Set::DOTTED, 12),
    long("xoxo-", Set::TOKEN, 12),
    long("xoxp-", Set::TOKEN, 12),
    long("xoxr-", Set::TOKEN, 12),
    long("xoxs-", Set::TOKEN, 12),
    long("xsmtpsib-", Set::HEX_DASH, 40), // Brevo
    long("ya29.", Set::DOTTED, 16), // Google
];

/// The shortest token, with its prefix.
const SHORTEST: usize = 16;

/// The shapes whose prefixes begin with each byte.
static BY_FIRST_BYTE: [(u8, u8); 128] = {
    let mut ranges = [(0, 0); 128];
    let mut idx = 0;
    while idx < SHAPES.len() {
        let first = SHAPES[idx].prefix.as_bytes()[0] as usize;
        let (start, end) = ranges[first];
        assert!(end == 0 || end as usize == idx, "the shapes of one first byte are together");
        #[expect(clippy::cast_possible_truncation, reason = "there are fewer than 256 shapes")]
        let idx_of_next = (idx + 1) as u8;
        ranges[first] = (if end == 0 { idx_of_next - 1 } else { start }, idx_of_next);
        idx += 1;
    }
    ranges
};

/// Whether a prefix begins with two bytes, by their lowest bits. Most words begin with others.
static IS_BEGINNING: [bool; 1 << 12] = {
    let mut is_beginning = [false; 1 << 12];
    let mut idx = 0;
    while idx < SHAPES.len() {
        let prefix = SHAPES[idx].prefix.as_bytes();
        is_beginning[low_bits(prefix[0], prefix[1])] = true;
        idx += 1;
    }
    is_beginning
};

const fn low_bits(first: u8, second: u8) -> usize {
    (first as usize & 63) << 6 | second as usize & 63
}

/// Finds the tokens in a text.
///
/// Examines every sixteenth byte, and all bytes of a run that may be long enough.
pub(super) fn find(text: &str, found: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let mut start = 0;
    while let Some(shortest) = bytes.get(start..start + SHORTEST) {
        if let Some(end) = shortest.iter().rposition(|byte| !Set::RUN.has(*byte)) {
            start += end + 1;
            continue;
        }
        let end = start + Set::RUN.run_len(&bytes[start..]);
        find_in_run(bytes, start..end, found);
        start = end + 1;
    }
}

/// Returns whether a text contains a token of a known service: for ids, most of which look
/// random.
pub(crate) fn has_token(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_start = |at: &usize| *at == 0 || !Set::ALNUM.has(bytes[at - 1]);
    (0..bytes.len()).filter(is_start).any(|at| token_end(bytes, at).is_some())
}

fn find_in_run(text: &[u8], run: Range<usize>, found: &mut Vec<Range<usize>>) {
    let run = run.start + escape_len(text, run.start)..run.end;
    let mut at = run.start;
    while at < run.end {
        let end = token_end(text, at).or_else(|| unusual::token_end(text, &run, at));
        if let Some(end) = end {
            found.push(unusual::token_start(text, at)..end);
            at = end;
        } else {
            at += Set::ALNUM.run_len(&text[at..run.end]);
        }
        at += text[at..].iter().take_while(|byte| !Set::ALNUM.has(**byte)).count().max(1);
    }
    random::find(text, run, found);
}

/// Returns the length of the rest of an escape before the first character of a run, such as
/// the `n` of `\n` or the `20` of `%20`.
fn escape_len(text: &[u8], start: usize) -> usize {
    match (&text[..start], &text[start..]) {
        ([.., b'\\'], [b'n' | b'r' | b't', ..]) => 1,
        ([.., b'%'], [a, b, ..]) if Set::HEX.has(*a) && Set::HEX.has(*b) => 2,
        _ => 0,
    }
}

/// Returns the end of the token that begins at an offset.
fn token_end(text: &[u8], at: usize) -> Option<usize> {
    let beginning: [u8; 4] = *text.get(at..)?.first_chunk()?;
    let [first, second, ..] = beginning;
    if !IS_BEGINNING[low_bits(first, second)] {
        return None;
    }
    let (start, end) = *BY_FIRST_BYTE.get(usize::from(first))?;
    let shapes = &SHAPES[usize::from(start)..usize::from(end)];
    let shapes = shapes.iter().filter(|shape| shape.beginning.begins(beginning));
    let ends = shapes.filter_map(|shape| {
        let body = text[at..].strip_prefix(shape.prefix.as_bytes())?;
        let len = shape.set.run_len(&body[..body.len().min(shape.limit())]);
        let is_token = if shape.is_exact { len == shape.min } else { shape.min <= len };
        is_token.then(|| at + shape.prefix.len() + len)
    });
    ends.max()
}

impl Shape {
    /// Returns the number of characters to examine.
    fn limit(&self) -> usize {
        if self.is_exact { self.min + 1 } else { usize::MAX }
    }
}
