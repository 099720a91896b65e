//! The words of the scenario: names, worries, questions, objections and verdicts. Data only; what is
//! picked, and how much of it, is decided in `scenario.rs`.

use std::ops::RangeInclusive;

/// A line, and what the other one says to it.
pub(super) type Exchange = (&'static str, &'static str);

/// The product a drill practises; it decides what people worry about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    MedicareAdvantage,
    MedicareSupplement,
    FinalExpense,
    Under65,
    Ancillary,
}

pub(super) const FIRST_NAMES: &[&str] = &[
    "James",
    "Dolores",
    "Walter",
    "Yolanda",
    "Earl",
    "Marguerite",
    "Luis",
    "Bernice",
    "Hank",
    "Thuy",
    "Ruth",
    "Clarence",
    "Ingrid",
    "Otis",
    "Carmen",
    "Gene",
];
pub(super) const LAST_NAMES: &[&str] = &[
    "Whitfield",
    "Okafor",
    "Brandt",
    "Castellano",
    "Nguyen",
    "Pruitt",
    "Delgado",
    "Haines",
    "Kowalski",
    "Beaumont",
    "Tran",
    "Mercer",
    "Ochoa",
    "Lindqvist",
];
/// State, city, county, zip code.
pub(super) const PLACES: &[[&str; 4]] = &[
    ["FL", "Ocala", "Marion", "34471"],
    ["TX", "Waco", "McLennan", "76701"],
    ["OH", "Dayton", "Montgomery", "45402"],
    ["CA", "Fresno", "Fresno", "93721"],
    ["GA", "Macon", "Bibb", "31201"],
    ["AZ", "Mesa", "Maricopa", "85201"],
    ["PA", "Erie", "Erie", "16501"],
    ["NC", "Durham", "Durham", "27701"],
    ["MI", "Lansing", "Ingham", "48933"],
    ["TN", "Knoxville", "Knox", "37902"],
];
pub(super) const STREETS: &[&str] = &["Maple Street", "Oak Avenue", "Third Street", "Mill Road"];
pub(super) const CATEGORIES: &[&str] = &["New to Medicare", "Plan member", "Dual eligible"];
pub(super) const MEDICAID_LEVELS: &[&str] = &["QMB", "SLMB", "Full Medicaid"];
/// Name, contract, plan, type.
pub(super) const PLANS: &[[&str; 4]] = &[
    ["Clearwater Gold", "H0001", "014", "HMO"],
    ["Lakeside Choice", "H0002", "003", "PPO"],
    ["Harbor Dual Complete", "H0003", "021", "HMO D-SNP"],
];

pub(super) const HELLOS: &[&str] = &[
    "Hello?",
    "Hey.",
    "Yeah, who's this?",
    "Hello, this is {name}.",
    "Hi. Is this about the mailer?",
];

pub(super) const OPENINGS: &[Exchange] = &[
    (
        "Hi {name}, this is Sam, a licensed agent, on a recorded line. How are you today?",
        "Fine, I suppose. What's this about?",
    ),
    (
        "Good morning {name}, Sam here from the benefits line; this call is recorded. Is now a good time?",
        "I've got a few minutes before lunch.",
    ),
    (
        "Hi {name}, you asked for information on your coverage. I'm Sam, I'm licensed in your state. May I ask a few questions?",
        "Go ahead, but I'm not giving out my card number.",
    ),
    (
        "Hi {name}, how are you?",
        "I'd be better if the phone stopped ringing.",
    ),
];

pub(super) const CLOSES: &[Exchange] = &[
    (
        "Based on what you told me, this one keeps your doctor and costs less. Shall we get you enrolled together?",
        "All right. Let's do it, before I change my mind.",
    ),
    (
        "We can finish the application now; it takes about ten minutes. Do you have your card handy?",
        "Let me find my glasses. Hold on.",
    ),
    (
        "What would you need to hear to feel good about deciding today?",
        "I want to talk to my daughter first. Can you call me on Thursday?",
    ),
    (
        "I'll put it in writing for you, and we speak again on Tuesday at ten. Does that work?",
        "Tuesday at ten. I'll write it on the calendar.",
    ),
    (
        "Shall we go ahead?",
        "No, I don't think so. You went a bit fast for me.",
    ),
];

/// How old the people of a product are.
pub(super) fn ages(family: Family) -> RangeInclusive<u8> {
    match family {
        Family::MedicareAdvantage | Family::MedicareSupplement => 64..=81,
        Family::FinalExpense => 55..=79,
        Family::Under65 => 27..=62,
        Family::Ancillary => 48..=76,
    }
}

/// Questions that find out what is needed, and their answers.
pub(super) fn needs(family: Family) -> &'static [Exchange] {
    match family {
        Family::MedicareAdvantage => &[
            (
                "Which doctors do you want to keep seeing?",
                "Dr. Patel. Fourteen years. If he's not in it, we're done here.",
            ),
            (
                "Which prescriptions do you take, and where do you fill them?",
                "Eliquis and something for the pressure. The pharmacy on Main.",
            ),
            (
                "Do you have both Part A and Part B?",
                "I have the red, white and blue card, if that's what you mean.",
            ),
            (
                "What do you like about the plan you have, and what would you change?",
                "The dental is a joke. The rest is fine, I guess.",
            ),
            (
                "And you make your own health care decisions?",
                "Last I checked.",
            ),
        ],
        Family::MedicareSupplement => &[
            (
                "What do you pay for your supplement today?",
                "A hundred and ninety, and it was one-forty when I signed.",
            ),
            (
                "Where do you see doctors when you travel?",
                "Wherever the RV happens to be parked.",
            ),
            (
                "Any hospital stays in the last two years?",
                "A stent. They sent me home the next day.",
            ),
            (
                "Which letter is your plan?",
                "G. Or F? It's on the card somewhere.",
            ),
        ],
        Family::FinalExpense => &[
            (
                "Who would take care of things if something happened to you?",
                "My daughter. She has enough on her plate.",
            ),
            (
                "Have you decided on burial or cremation?",
                "Cremation. Keep it simple.",
            ),
            (
                "Is there anything in place today?",
                "A little policy from work, I think it ended when I did.",
            ),
            (
                "What could you set aside every month without feeling it?",
                "Forty dollars. Fifty, if you're nice.",
            ),
        ],
        Family::Under65 => &[
            (
                "When does your coverage from work end?",
                "End of the month. That came quicker than I thought.",
            ),
            (
                "Roughly what do you expect to earn this year?",
                "Thirty-eight, maybe forty-two. It depends on the tips.",
            ),
            (
                "Who else is in the household?",
                "My wife, and a baby due in March.",
            ),
            ("Do you take anything regularly?", "An inhaler. That's it."),
        ],
        Family::Ancillary => &[
            (
                "What would three days in hospital cost you under your plan?",
                "I thought that was covered. Is it not?",
            ),
            (
                "If you could not work for a month, what would have to be paid anyway?",
                "The rent. And the truck.",
            ),
            (
                "Has anyone in the family had cancer, a stroke or a heart attack?",
                "My mother had a stroke at sixty-eight.",
            ),
        ],
    }
}

/// What the persona holds against it, and what the rep replies.
pub(super) fn objections(family: Family) -> &'static [Exchange] {
    match family {
        Family::MedicareAdvantage => &[
            (
                "I don't want to lose my doctor over a grocery card.",
                "Neither do I. Let me look him up before we talk about anything else.",
            ),
            (
                "Is this going to replace my Medicare?",
                "You keep Medicare; the plan is how you receive it. Let me say what changes.",
            ),
            (
                "My neighbour joined one of those and got nothing but denials.",
                "That happens, and I'd like to know with whom. May I show you how this one decides?",
            ),
        ],
        Family::MedicareSupplement => &[
            (
                "They all go up, so why should I bother?",
                "They do. This one has gone up least in your county in five years; I can send you the numbers.",
            ),
            (
                "I don't want to answer health questions again.",
                "There are eleven, and two of them matter. Shall we do those first?",
            ),
        ],
        Family::FinalExpense => &[
            (
                "I need to think about it.",
                "Of course. What part of it would you be thinking about?",
            ),
            (
                "I'm on a fixed income, I can't afford that.",
                "Then we start smaller. What would twenty-nine dollars a month cover, do you want to see?",
            ),
            (
                "How do I know you'll be around when I'm gone?",
                "The carrier has paid since 1908. I'll send you its rating, in writing.",
            ),
        ],
        Family::Under65 => &[
            (
                "Six hundred a month? I might as well pay cash.",
                "Before help. With your income the credit should take most of it; let's see what is left.",
            ),
            (
                "I'm healthy. I'd rather take my chances.",
                "For yourself, perhaps. With a baby due in March the chances look different.",
            ),
        ],
        Family::Ancillary => &[
            (
                "You people always want to sell me one more thing.",
                "Fair. I'll show you the gap, and if it does not worry you, we leave it.",
            ),
            (
                "Can I get it cheaper?",
                "Yes: half the daily benefit is half the price, and still covers your copay.",
            ),
        ],
    }
}

/// Summaries and feedback for a score.
pub(super) fn verdicts(overall: u8) -> (&'static [&'static str], &'static [&'static str]) {
    match overall {
        0..60 => (
            &[
                "{name} was willing to talk, but the agent presented a plan before asking what was needed.",
                "The agent talked over {name} twice and left the main objection unanswered.",
            ],
            &[
                "Ask three open questions before you name a plan, and let {name} finish.",
                "Give your name, your licence and the recording notice first; then slow down.",
            ],
        ),
        60..75 => (
            &[
                "{name} asked about options; the agent built rapport but rushed the close.",
                "A friendly call with gaps: needs were asked for, then not used in the presentation.",
            ],
            &[
                "Lead with a clear greeting and one discovery question; slow down before presenting the plan.",
                "Repeat {name}'s own words when you present: they told you what matters.",
            ],
        ),
        75..88 => (
            &[
                "The agent found out what {name} needs, answered the objection and asked for the sale.",
                "Good discovery and a calm reply to the objection; the next step was agreed.",
            ],
            &[
                "Confirm the doctor and the prescriptions aloud before the close; the rest was solid.",
                "Strong call. Pause after the price, and let {name} speak first.",
            ],
        ),
        _ => (
            &["Textbook: compliant opening, patient discovery, and a close that {name} asked for."],
            &["Keep doing this, and try a harder persona next."],
        ),
    }
}
